/** What the operator prefers, kept in this browser: colours and how much time a chart shows. Nothing secret. */

export type Theme = 'auto' | 'light' | 'dark';

export const WINDOWS = [
  { seconds: 120, label: '2 min' },
  { seconds: 300, label: '5 min' },
  { seconds: 900, label: '15 min' },
  { seconds: 3600, label: '1 h' },
] as const;

const dark = matchMedia('(prefers-color-scheme: dark)');

class Settings {
  theme = $state<Theme>('auto');
  window = $state<number>(300);
  #systemDark = $state(dark.matches);

  constructor() {
    const theme = read('theme');
    if (theme === 'light' || theme === 'dark') this.theme = theme;
    const seconds = Number(read('window'));
    if (WINDOWS.some((w) => w.seconds === seconds)) this.window = seconds;
    dark.addEventListener('change', () => this.#apply());
    this.#apply();
  }

  /** The colours in use. */
  get shown(): 'light' | 'dark' {
    if (this.theme !== 'auto') return this.theme;
    return this.#systemDark ? 'dark' : 'light';
  }

  setTheme(theme: Theme): void {
    write('theme', theme);
    this.#apply(theme);
  }

  setWindow(seconds: number): void {
    this.window = seconds;
    write('window', String(seconds));
  }

  /** The document changes before those who watch are told: charts read their colours from it. */
  #apply(theme: Theme = this.theme): void {
    const shown = theme !== 'auto' ? theme : dark.matches ? 'dark' : 'light';
    document.documentElement.dataset.theme = shown;
    this.#systemDark = dark.matches;
    this.theme = theme;
  }
}

function read(name: string): string | null {
  try {
    return localStorage.getItem(`tranche-${name}`);
  } catch {
    // Storage is switched off in this browser: the preference lasts as long as the page.
    return null;
  }
}

function write(name: string, value: string): void {
  try {
    localStorage.setItem(`tranche-${name}`, value);
  } catch {
    // As above.
  }
}

export const settings = new Settings();
