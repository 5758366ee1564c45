import { defineConfig } from '@playwright/test';
import { environment } from './environment';

const MINUTE = 60_000;

export default defineConfig({
  testDir: 'tests',
  // What there is to see depends on the network that with-stack has started.
  testMatch: process.env.TRANCHE_SCENE === 'ran' ? 'cells.spec.ts' : 'page.spec.ts',
  outputDir: 'test-results',
  // One network, one story: the tests build on each other.
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  reporter: 'list',
  timeout: 3 * MINUTE,
  expect: { timeout: 15_000 },
  use: {
    baseURL: environment().url,
    viewport: { width: 1280, height: 800 },
    colorScheme: 'light',
    ignoreHTTPSErrors: true,
    launchOptions: {
      // Debian's, from the package chromium.
      executablePath: process.env.TRANCHE_CHROMIUM || '/usr/bin/chromium',
      args: [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
