/** The operator's page as a person uses it: by what is written on it. */

import type { Locator, Page } from '@playwright/test';
import type { SliceData } from './environment';

export class Operator {
  /** What went wrong in the page: uncaught errors, and what the content security policy forbade. */
  readonly faults: string[] = [];

  constructor(readonly page: Page) {
    page.on('pageerror', (error) => this.faults.push(error.message));
    page.on('console', (message) => {
      // Chromium reports every answer of 400 and above; some are what a test asks for.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        this.faults.push(message.text());
    });
  }

  async signIn(user: string, password: string): Promise<void> {
    await this.page.getByLabel('User name').fill(user);
    await this.page.getByLabel('Password').fill(password);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
  }

  async open(view: 'Slices' | 'Nodes' | 'Events'): Promise<void> {
    await this.page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: view }).click();
  }

  get scheduler(): Locator {
    return this.page.getByRole('switch', { name: 'Global scheduler' });
  }

  get dialog(): Locator {
    return this.page.getByRole('dialog');
  }

  field(label: string): Locator {
    return this.dialog.getByLabel(label, { exact: true });
  }

  /** The text under a field that says what is wrong with it. */
  async complaint(label: string): Promise<string> {
    const id = await this.field(label).getAttribute('aria-describedby');
    return (await this.page.locator(`[id="${id}"]`).textContent()) ?? '';
  }

  async newSlice(slice: SliceData): Promise<void> {
    await this.page.getByRole('button', { name: 'New slice' }).click();
    await this.field('Identifier').fill(slice.id);
    await this.field('Tenant').fill(slice.tenant);
    if (slice.description) await this.field('Description').fill(slice.description);
    await this.field('Guaranteed airtime, %').fill(slice.sla?.airtime?.['min-ratio'] ?? '0');
    await this.field('Most airtime, %').fill(slice.sla?.airtime?.['max-ratio'] ?? '100');
    await this.field('Priority').fill(String(slice.sla?.priority ?? 0));
    await this.tick('Nodes', slice.where.node);
    await this.tick('Sites', slice.where.site);
    await this.tick('Labels', slice.where.label);
    await this.tick('Bands', slice.where.band);
    await this.field('Network name (SSID)').fill(slice.wifi.ssid);
    await this.field('Security').selectOption(slice.wifi.security?.mode ?? 'wpa3-personal');
    const passphrase = slice.wifi.security?.passphrase;
    if (passphrase) await this.field('Passphrase').fill(passphrase);
  }

  private async tick(group: string, names: string[] = []): Promise<void> {
    const boxes = this.dialog.getByRole('group', { name: group });
    for (const name of names) await boxes.getByText(name, { exact: true }).click();
  }

  card(id: string): Locator {
    return this.page.getByRole('article', { name: `Slice ${id}`, exact: true });
  }

  chart(id: string): Locator {
    return this.card(id).getByRole('figure');
  }

  /** What a slice's card says it got in the last period, in percent; not a number before the first report. */
  async measured(id: string): Promise<number> {
    const text = (await this.card(id).locator('.meter').textContent()) ?? '';
    return Number.parseFloat(text);
  }

  /** How many pixels of a slice's chart have the colour of violations, and how many that of corrections. */
  async painted(id: string): Promise<{ violated: number; corrected: number }> {
    return this.chart(id)
      .locator('canvas')
      .evaluate((element) => {
        const canvas = element as HTMLCanvasElement;
        const style = getComputedStyle(canvas);
        const colour = (name: string) => {
          const [, r, g, b] = /^#(..)(..)(..)$/.exec(style.getPropertyValue(name).trim()) ?? [];
          return [r, g, b].map((x) => Number.parseInt(x ?? 'no colour', 16));
        };
        const violation = colour('--bad');
        const correction = colour('--chart-correction');
        const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        const close = (at: number, to: number[]) => to.every((value, i) => Math.abs((data[at + i] ?? 0) - value) < 12);
        const counts = { violated: 0, corrected: 0 };
        for (let at = 0; at < data.length; at += 4) {
          if (close(at, violation)) counts.violated++;
          if (close(at, correction)) counts.corrected++;
        }
        return counts;
      });
  }
}
