// test.mjs: the page at / in a real browser, in front of real daemons and Redis: what it shows, what it does, and that it breaks no policy,
// logs no error and asks nobody but its daemon. Screenshots go to SHOTS, to be looked at.
import puppeteer from 'puppeteer-core';
import {writeFileSync} from 'node:fs';
import {dir, check, until, startRedis, startDaemon, caller, kill, work, end} from './stage.mjs';

const TOKEN = 'a-token-of-the-test';
const faults = [];
let browser;

function passed(fact) {
  console.log(`ok      ${fact}`);
}

// `answers`: statuses that this page is meant to get, which the browser logs as errors.
async function open(daemon, {width = 1280, scheme = 'light', answers = [], url = daemon.page} = {}) {
  const context = await browser.createBrowserContext(), page = await context.newPage();
  page.allowed = answers;
  page.on('console', message => {
    const refused = /the server responded with a status of (\d+)/.exec(message.text());
    const known = refused && page.allowed.includes(Number(refused[1])) || page.allowed.includes('away') && /net::ERR_(CONNECTION_\w+|EMPTY_RESPONSE)/.test(message.text());
    if (['error', 'warn'].includes(message.type()) && !known) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', error => faults.push(`script: ${error.message}`));
  page.on('request', request => {
    if (!request.url().startsWith(new URL(url).origin) && !request.url().startsWith('data:')) faults.push(`a request to ${request.url()}`);
  });
  await page.evaluateOnNewDocument(() => document.addEventListener('securitypolicyviolation', event => console.error(`policy: ${event.violatedDirective}`)));
  await page.setViewport({width, height: 800});
  await page.emulateMediaFeatures([{name: 'prefers-color-scheme', value: scheme}]);
  await page.goto(url);
  return page;
}
const shot = (page, name) => page.screenshot({path: `${process.env.SHOTS}/${name}.png`, fullPage: true});
const text = page => page.evaluate(() => document.body.innerText);
const shows = (page, ...parts) => until(`the page shows ${parts.join(', ')}`, async () => {
  const all = await text(page);
  return parts.every(part => all.includes(part));
});
const close = page => page.browserContext().close();

// The least contrast of all text that is seen, against the nearest background behind it (WCAG 2).
const leastContrast = page => page.evaluate(() => {
  const rgb = color => (color.match(/[\d.]+/g) || []).map(Number);
  const light = color => rgb(color).slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor, alpha = rgb(color)[3];
      if (alpha === undefined || alpha === 1) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = {ratio: 99};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest('script, style, .skip')) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least.ratio) least = {ratio, text: walk.currentNode.data};
  }
  return least;
});

async function looks(daemon) {
  for (const [name, width, scheme] of [['light', 1280, 'light'], ['dark', 1280, 'dark'], ['narrow', 320, 'dark']]) {
    const page = await open(daemon, {width, scheme});
    await shows(page, 'ready', 'circuit closed', 'near cache', '/cache/lookup', 'p99', 'dead', 'review-7f3a', '529: overloaded', 'code-executor', 'circuit Open');
    await shot(page, name);
    const {ratio, text: worst} = await leastContrast(page);
    check(ratio >= 4.5, `${name}: contrast ${ratio.toFixed(2)} of "${worst}"`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(wide <= 0, `${name}: ${wide} pixels too wide`);
    await close(page);
  }
  passed('light, dark and 320 pixels: all is shown, contrast is at least 4.5, nothing is cut off');
}

async function themes(daemon) {
  const page = await open(daemon, {scheme: 'dark'});
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await background();
  await page.click('#theme');
  const light = await background();
  check(dark !== light, 'the toggle changes nothing');
  await page.reload();
  check(await background() === light, 'the choice is forgotten');
  await close(page);
  passed('the theme follows the system until the reader chooses');
}

async function keyboard(daemon, ask) {
  const page = await open(daemon);
  await shows(page, 'review-7f3a');
  const focused = () => page.evaluate(() => {
    const node = document.activeElement;
    return {id: node.id, name: node.getAttribute('aria-label') || node.textContent.trim(), outline: getComputedStyle(node).outlineStyle};
  });
  const seen = [];
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab');
    const at = await focused();
    if (at.name === '' || at.id === '' && seen.length && at.name === seen[0]) break;
    check(at.outline !== 'none', `no outline on ${at.name}`);
    seen.push(at.name);
    if (at.name === '/readyz') break;
  }
  check(seen[0] === 'Skip to the figures' && seen[seen.length - 1] === '/readyz', `the order of focus: ${seen.join(', ')}`);
  for (const name of ['Pause', 'Dark', 'Requeue all', 'Purge all…', 'Look into review-7f3a', 'Requeue review-7f3a'])
    check(seen.includes(name), `cannot be reached by Tab: ${name}`);
  const reach = async name => {
    await page.evaluate(() => document.getElementById('pause').focus());
    await until(`${name} has the focus`, async () => {
      await page.keyboard.press('Tab');
      return (await focused()).name === name;
    });
  };
  await reach('Look into review-7f3a');
  await page.keyboard.press('Enter');
  await shows(page, '"prompt": "I want you to act as an interviewer', 'My first sentence is \\"Hi\\"');
  await shot(page, 'dead-letter');
  await reach('Requeue review-7f3a');
  await page.keyboard.press('Space');
  await shows(page, 'Requeued review-7f3a.');
  await until('the row is gone', () => page.evaluate(() => ![...document.querySelectorAll('#tasks .name')].some(node => node.textContent === 'review-7f3a')));
  check((await focused()).id === 'h-list', 'the focus is lost with its row');
  check((await ask('GET', '/tasks/review-7f3a')).state === 'ready', 'review-7f3a was not requeued');
  await reach('Purge all…');
  await page.keyboard.press('Enter');
  await until('the dialog is open', () => page.$eval('#sure', node => node.open));
  await page.keyboard.press('Escape');
  check((await ask('GET', '/tasks')).counts.dead > 0, 'Escape purges');
  await close(page);
  passed('by keyboard alone: order, visible focus, look, requeue, leave the dialog');
}

async function deeds(daemon, ask) {
  const page = await open(daemon);
  await shows(page, 'review-7f3b');
  await page.click('#requeue-all');
  await until('none is dead', async () => (await ask('GET', '/tasks')).counts.dead === 0);
  await shows(page, 'None.');
  await kill(ask, ['purge-me'], 'translator');
  await shows(page, 'purge-me');
  await page.click('#purge');
  await page.click('#sure button[value=yes]');
  await shows(page, 'Purged 1 tasks.');
  await page.click('#states button:nth-child(2)');
  await shows(page, 'Delayed tasks', 'due in');
  await close(page);
  passed('requeue all, purge, other states');
}

async function degraded(daemon, ask, redis, port) {
  const page = await open(daemon);
  await shows(page, 'circuit closed', 'planner');
  await end(redis, 'SIGKILL');
  await until('the daemon is degraded', async () => {
    await ask('PUT', '/cache/while-away', {response: 'kept'});
    return (await ask('GET', '/readyz')).status === 'degraded';
  });
  await ask('POST', '/tasks', {payload: 'while away'});
  await shows(page, 'degraded', 'does not answer', 'They wait for it', 'circuit open', 'Only what this daemon knows');
  check((await page.title()).startsWith('degraded'), 'the title does not tell');
  await shot(page, 'degraded');
  const {ratio, text: worst} = await leastContrast(page);
  check(ratio >= 4.5, `contrast ${ratio.toFixed(2)} of "${worst}"`);
  const again = await startRedis(port);
  await shows(page, 'circuit closed');
  await until('all is handed back', async () => !(await text(page)).includes('has still to learn'));
  await close(page);
  passed('Redis away and back, as it happens');
  return again;
}

async function token(redisUrl) {
  const file = `${dir}/token`;
  writeFileSync(file, `${TOKEN}\n`);
  const daemon = await startDaemon(8479, {PHOENIX_REDIS_URL: redisUrl, PHOENIX_REDIS_PREFIX: 'other', PHOENIX_HTTP_TOKEN_FILE: file});
  await kill(caller(daemon.api, TOKEN), ['kept-safe']);
  const page = await open(daemon, {answers: [401], url: `http://192.0.2.7:${daemon.admin}/`}); // a pod's address
  await shows(page, 'Token needed');
  check(!(await text(page)).includes('kept-safe'), 'shown without a token');
  await shot(page, 'token');
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await shows(page, 'was not accepted');
  await page.keyboard.type(TOKEN);
  await page.keyboard.press('Enter');
  await shows(page, 'kept-safe');
  page.allowed = [];
  await page.reload();
  await shows(page, 'kept-safe');
  check(!await page.evaluate(value => JSON.stringify({...localStorage}).includes(value) || document.cookie.includes(value), TOKEN), 'the token outlives the tab');
  await page.click('#tasks .acts button:last-child');
  await shows(page, 'Requeued kept-safe.');
  page.allowed = [401];
  await page.click('#forget');
  await shows(page, 'Token needed');
  await close(page);
  await end(daemon.child);
  passed('the token: asked for, refused, kept in the tab, sent with a requeue by the pod\'s address, forgotten');
}

async function withoutToken(daemon) {
  const url = `http://192.0.2.7:${daemon.admin}/`, page = await open(daemon, {answers: [403], url});
  await shows(page, 'No figures: header Host is neither loopback');
  await shot(page, 'refused');
  for (const [path, method] of [['tasks?state=dead', 'GET'], ['tasks?state=dead', 'DELETE'], ['tasks/x/requeue', 'POST'], ['health', 'GET']]) {
    const answer = await fetch(url + path, {method});
    check(answer.status === 403 && (await answer.text()).includes('over loopback only'), `${method} ${path} from elsewhere: ${answer.status}`);
  }
  await close(page);
  passed('without a token another machine is shown nothing, and told why');
}

async function twoRedises(redisUrl) {
  const port = PORT + 1, second = await startRedis(port);
  const daemon = await startDaemon(8679, {PHOENIX_REDIS_URL: redisUrl, PHOENIX_REDIS_STATE_URL: `redis://127.0.0.1:${port}`, PHOENIX_REDIS_PREFIX: 'two'});
  const page = await open(daemon);
  await shows(page, `cache: 127.0.0.1:${PORT}`, `state: 127.0.0.1:${port}`);
  await end(second, 'SIGKILL');
  await shows(page, 'a Redis is away', `The state Redis (127.0.0.1:${port}) does not answer`, 'circuit closed', 'circuit open');
  await shot(page, 'two-redises');
  await close(page);
  await end(daemon.child);
  passed('two Redises, one of them away');
}

async function silence(redisUrl) {
  const daemon = await startDaemon(8579, {PHOENIX_REDIS_URL: redisUrl}), page = await open(daemon, {answers: ['away']});
  await shows(page, 'circuit closed');
  await end(daemon.child, 'SIGKILL');
  await shows(page, 'the daemon does not answer', 'no answer');
  await shot(page, 'no-answer');
  const {child} = await startDaemon(8579, {PHOENIX_REDIS_URL: redisUrl});
  await shows(page, 'ready', 'circuit closed');
  await end(child);
  await close(page);
  passed('a daemon that ends and comes back');
}

const PORT = 6400, redisUrl = `redis://127.0.0.1:${PORT}`;
let redis = await startRedis(PORT);
const daemon = await startDaemon(8379, {PHOENIX_REDIS_URL: redisUrl}), ask = caller(daemon.api);
await work(ask);
await kill(ask, ['review-7f3a', 'review-7f3b', 'summarise-0192', 'plan-export-44']);
browser = await puppeteer.launch({executablePath: process.env.CHROMIUM, headless: true, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage']});
try {
  await looks(daemon);
  await themes(daemon);
  await keyboard(daemon, ask);
  await deeds(daemon, ask);
  await withoutToken(daemon);
  await token(redisUrl);
  await twoRedises(redisUrl);
  await silence(redisUrl);
  redis = await degraded(daemon, ask, redis, PORT);
  check(faults.length === 0, faults.join('\n        '));
  passed('no violated policy, no error in the console, no request elsewhere');
} finally {
  await browser.close();
}
await end(daemon.child);
await end(redis);
