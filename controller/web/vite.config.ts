import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// The controller serves the page under `default-src 'self'`: no asset may become a data: URL, no style
// or script may be inlined, and `style` attributes are set by script alone. During development the controller is expected at TRANCHE_URL.
const controller = process.env.TRANCHE_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    // The notices that the licences of what is bundled ask for.
    license: { fileName: 'licenses.txt' },
  },
  server: {
    host: '127.0.0.1',
    proxy: { '/restconf': controller, '/streams': controller },
  },
  test: {
    include: ['src/**/*.test.ts'],
  },
});
