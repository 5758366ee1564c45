/** What the tests need to know of the running network. They start none: `with-stack` does, and sets these variables. */

export interface SliceData {
  id: string;
  tenant: string;
  description?: string;
  sla?: { airtime?: { 'min-ratio'?: string; 'max-ratio'?: string }; priority?: number };
  where: { node?: string[]; site?: string[]; label?: string[]; band?: string[] };
  wifi: { ssid: string; security?: { mode?: string; passphrase?: string } };
}

export interface Environment {
  /** Address of the page. */
  url: string;
  user: string;
  password: string;
  /** Names of the nodes. */
  nodes: string[];
  /** Two slices of one contention domain, none of which exists: without corrections the second gets less than it is owed. */
  slices: [SliceData, SliceData];
  /** Where a picture of the page is written once the share is corrected; null for none. */
  screenshot: string | null;
}

export function environment(): Environment {
  const slices = JSON.parse(needed('TRANCHE_SLICES')) as { 'tranche-slice:slices': { slice: SliceData[] } };
  const [first, second, ...more] = slices['tranche-slice:slices'].slice.sort((a, b) => owed(a) - owed(b));
  if (!first || !second || more.length > 0) throw new Error('TRANCHE_SLICES must hold two slices');
  return {
    url: needed('TRANCHE_URL'),
    user: needed('TRANCHE_USER'),
    password: needed('TRANCHE_PASSWORD'),
    nodes: (JSON.parse(needed('TRANCHE_NODES')) as { name: string }[]).map((node) => node.name),
    slices: [first, second],
    screenshot: process.env.TRANCHE_SCREENSHOT || null,
  };
}

/** The guaranteed share of a slice, in percent. */
export function owed(slice: SliceData): number {
  return Number(slice.sla?.airtime?.['min-ratio'] ?? 0);
}

function needed(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(
      `${name} is not set. These tests need a running network: start them with \`with-stack -- npm --prefix netconf-tests/web test\` ` +
        '(or `make test ARGS=page`). They read TRANCHE_URL, TRANCHE_USER, TRANCHE_PASSWORD, TRANCHE_NODES and TRANCHE_SLICES, ' +
        'and TRANCHE_SCREENSHOT where a picture is wanted.',
    );
  }
  return value;
}
