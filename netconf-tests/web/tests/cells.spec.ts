import { expect, test } from '@playwright/test';
import { environment } from '../environment';
import { Operator } from '../operator';

const { url, user, password, slices, screenshot } = environment();
/** Time for nodes to be reached, slices to come into service and corrections to take hold. */
const SOON = 90_000;

test('a slice on Wi-Fi and cells: its cells and UEs, its promises by technology, and what was corrected', async ({
  page,
  playwright,
}) => {
  const api = await playwright.request.newContext({
    baseURL: new URL('restconf/data/', url).href,
    ignoreHTTPSErrors: true,
    extraHTTPHeaders: {
      Authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`,
      'Content-Type': 'application/yang-data+json',
    },
  });
  const put = async () => {
    const answer = await api.put('./tranche-slice:slices', { data: { 'tranche-slice:slices': { slice: slices } } });
    return answer.ok();
  };
  await expect.poll(put, { timeout: SOON }).toBe(true);
  await page.goto(url);
  const operator = new Operator(page);
  await operator.signIn(user, password);

  await operator.open('Nodes');
  const rows = page.getByRole('region', { name: 'Nodes' });
  await expect(rows.getByText('NR · 52 PRB')).toBeVisible({ timeout: SOON });
  await expect(rows.getByText('LTE · 50 PRB')).toBeVisible();
  await expect(rows.getByText('10 UEs')).toHaveCount(2, { timeout: SOON });

  await operator.open('Slices');
  await operator.card('tenant-a').getByRole('link', { name: 'tenant-a' }).click();
  const cells = page.getByRole('region', { name: 'Cells' });
  await expect(cells.getByRole('row')).toHaveCount(3, { timeout: SOON });
  await expect(cells.getByText('active')).toHaveCount(2, { timeout: SOON });
  const chart = (name: string) => page.getByRole('figure', { name, exact: true });
  const nr = chart('PRB of slice tenant-a in PRB down node-3/nr');
  const all = chart('Aggregate of slice tenant-a in mean of all');
  await expect(nr).toBeVisible({ timeout: SOON });
  await expect(chart('Airtime of slice tenant-a in node-1/phy0')).toBeVisible();
  await expect(all.getByText('owed 40.0 %')).toBeVisible();

  // Its leaves of cells are edited in the form, and a preview says what that does.
  await page.getByRole('button', { name: /^Edit/ }).click();
  await operator.field('PRB down guaranteed, %').fill('25');
  await operator.field('Most UEs').fill('900');
  await page.getByRole('button', { name: 'Preview' }).click();
  const preview = page.getByRole('region', { name: 'Preview' });
  await expect(preview.getByText('change slice profile tenant-a-nr')).toBeVisible({ timeout: SOON });
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(operator.dialog).toBeHidden({ timeout: SOON });
  const edited = await api.get('./tranche-slice:slices/slice=tenant-a?content=config');
  expect((await edited.json())['tranche-slice:slice'][0]).toMatchObject({
    sla: { prb: { down: { 'min-ratio': '25.0' } }, aggregate: { 'min-ratio': '40.0' } },
    ran: { mcc: '001', mnc: '01', sst: 1, 'max-ues': 900, core: ['mme', 'amf'] },
  });

  // More than can be had: the cells give what they can, and the promise stays broken.
  const more = { 'tranche-slice:slice': [{ id: 'tenant-a', sla: { aggregate: { 'min-ratio': '80.0' } } }] };
  const changed = await api.patch('./tranche-slice:slices/slice=tenant-a', { data: more });
  expect(changed.ok()).toBe(true);
  await expect(all.getByText('owed 80.0 %')).toBeVisible({ timeout: SOON });
  await expect(all).not.toHaveAttribute('data-violated-periods', '0', { timeout: SOON });
  await expect(page.getByText('SLA violated')).toBeVisible();
  await expect(nr).not.toHaveAttribute('data-corrections', '0', { timeout: SOON });
  if (screenshot !== null) await page.screenshot({ path: screenshot, fullPage: true });
  expect(operator.faults).toEqual([]);
  await api.dispose();
});
