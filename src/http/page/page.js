/* The page's life: turn() asks /status and /metrics every 2 s, less often while it fails or nobody looks, and
 * shows what came. Lists are asked for when their counts change, when a reader acts, and slowly otherwise.
 * All text goes in as text: nothing here makes markup of what the daemon says. Rows are kept by key, so that
 * what a reader has opened or focused stays. Rates and latencies are differences of /metrics over a minute. */
const POLL_MS = 2000, SLOW_MS = 30000, WAIT_MS = 5000, WINDOW_MS = 60000, LIST_MS = 10000, AGENTS_MS = 30000;
const TASKS_PAGE = 20, AGENTS_PAGE = 250, AGENTS_PAGES = 4;
const STATES = ['ready', 'delayed', 'leased', 'dead', 'bad'];
const TITLES = {ready: 'Ready tasks', delayed: 'Delayed tasks', leased: 'Leased tasks', dead: 'Dead letters', bad: 'Items that are no tasks'};
const TIMES = {delayed: ['due_at', 'due'], leased: ['lease_expires_at', 'lease ends'], dead: ['expires_at', 'forgotten'], ready: ['expires_at', 'expires'], bad: ['set_aside_at', 'set aside']};
const SOURCES = {near: 'near cache', redis: 'Redis', local: 'table', stale: 'table, Redis away', miss: 'misses'};

const $ = id => document.getElementById(id);
const all = (root, selector) => [...root.querySelectorAll(selector)];

let token = '', timer = 0, busy = false, again = false, failures = 0, paused = false, clockAhead = 0, lastGood = 0, mode = '';
let samples = [];
const line = {ratio: [], rate: []};
const tasks = {state: 'dead', items: [], cursor: null, partial: false, due: 0, counts: '', error: ''};
const agents = {items: [], cursor: null, partial: false, due: 0, error: ''};

try { token = sessionStorage.getItem('token') || ''; } catch { /* storage is off: the token lives as long as the page */ }

/* --- asking --- */

async function ask(path, method = 'GET') {
  const headers = token ? {Authorization: `Bearer ${token}`} : {};
  const answer = await fetch(path, {method, headers, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(WAIT_MS)});
  const date = Date.parse(answer.headers.get('Date'));
  if (date) clockAhead = date - Date.now();
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const error = new Error(problem.detail || problem.title || `status ${answer.status}`);
  error.status = answer.status;
  throw error;
}
const askJson = async path => (await ask(path)).json();
const why = error => error.status ? error.message : error.name === 'TimeoutError' ? 'no answer within 5 s' : 'the daemon does not answer';

/* --- the document --- */

function when(time) {
  if (!time) return 'never';
  const s = (Date.parse(time) - Date.now() - clockAhead) / 1000;
  return s >= 0.5 ? `in ${span(s)}` : `${span(-s)} ago`;
}

function el(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const tone = (node, name, text) => { node.className = `pill ${name}`; put(node, text); };
function button(text, action, label) {
  const node = el('button', '', text);
  node.type = 'button';
  if (label) node.setAttribute('aria-label', label);
  node.addEventListener('click', action);
  return node;
}
let saying = 0;
function say(text) {
  put($('say'), text);
  clearTimeout(saying);
  saying = setTimeout(() => put($('say'), ''), 6000);
}

/* One child per item, kept by its key. `make` fills a new one, `change` brings it up to date. */
function keep(list, items, key, make, change, fallback) {
  const wanted = new Set(items.map(key)), had = new Map();
  for (const child of [...list.children]) {
    if (wanted.has(child.dataset.key)) { had.set(child.dataset.key, child); continue; }
    if (fallback && child.contains(document.activeElement)) fallback.focus();
    child.remove();
  }
  items.forEach((item, i) => {
    let child = had.get(key(item));
    if (!child) {
      child = make(item);
      child.dataset.key = key(item);
    }
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] || null);
    change(child, item);
  });
}
/* A <dl> from [name, text, class of a mark] lines. */
function figures(list, lines) {
  keep(list, lines.filter(Boolean), line => line[0], ([name, , mark]) => {
    const pair = el('div'), dt = el('dt');
    if (mark !== undefined) dt.append(el('i', mark));
    dt.append(name);
    pair.append(dt, el('dd'));
    return pair;
  }, (pair, line) => put(pair.lastChild, line[1]));
}
/* A line chart without axes: the figure beside it has the numbers. */
function chart(svg, values, top) {
  const points = values.map((v, i) => [100 - (values.length - 1 - i) * 100 / 59, v]).filter(p => p[1] !== null);
  const most = top || Math.max(1e-9, ...points.map(p => p[1]));
  let path = svg.firstChild;
  if (!path) {
    svg.setAttribute('viewBox', '0 0 100 20');
    svg.setAttribute('preserveAspectRatio', 'none');
    path = svg.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'path'));
  }
  path.setAttribute('d', points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${(19 - 18 * y / most).toFixed(1)}`).join(''));
}

/* --- what is shown --- */

const TONES = {ready: 'ok', closed: 'ok', Healthy: 'ok', Closed: 'ok', good: 'ok', open: 'bad', Open: 'bad', Unhealthy: 'bad', dead: 'bad', degraded: 'bad'};
const toneOf = word => TONES[word] || 'warn';

/* Of several Redises; "all": there is one for everything. */
const roleOf = node => node.redis === 'all' ? '' : node.redis || '';
const EFFECTS = {
  '': 'Cache reads come from the table, changes are kept here, locks are refused.',
  cache: 'Cache reads come from the table, writes are kept here.',
  state: 'Changes of sessions, agents and tasks are kept here, locks are refused.',
};

function notes(status, series) {
  const away = status.redis.filter(node => node.circuit !== 'closed'), found = [];
  const waiting = status.journal + sum(series, 'phoenix_tasks_spooled');
  if (status.status === 'draining') found.push(['warn', 'Stopping: what is in flight is being finished.']);
  if (status.status === 'starting') found.push(['warn', 'Starting: not all is open yet.']);
  for (const node of away)
    found.push(['bad', `${roleOf(node) ? `The ${roleOf(node)} Redis` : 'Redis'} (${node.node}) does not answer: its circuit is ${node.circuit}. ${EFFECTS[roleOf(node)] || ''}`]);
  if (waiting > 0) found.push(['warn', `Changes that Redis has still to learn: ${number(waiting)}. ${away.length ? 'They wait for it' : 'They are being handed back'}.`]);
  for (const text of status.warnings) found.push(['warn', text[0].toUpperCase() + text.slice(1) + '.']);
  if (status.spool.set_aside > 0) found.push(['bad', `${number(status.spool.set_aside)} changes were set aside: Redis will never take them. See Table and spool.`]);
  if (status.tasks.bad > 0) found.push(['warn', `${number(status.tasks.bad)} items of the inbox are no tasks. See Queue, bad.`]);
  keep($('notes'), found, item => item[1], item => el('li', '', item[1]), (li, item) => { li.className = item[0]; });
}

function facts({ping_ms: ping, used_memory: used, maxmemory: most, maxmemory_policy: policy, ...more}) {
  return [ping > 0 && `ping ${seconds(ping / 1000)}`, used > 0 && bytes(used) + (most ? ` of ${bytes(most)}` : ''), policy,
    ...Object.entries(more).filter(item => item[1] !== null).map(([key, value]) => `${key.replaceAll('_', ' ')}: ${typeof value === 'object' ? JSON.stringify(value) : value}`)].filter(Boolean).join(' · ');
}
function nodes(status) {
  keep($('nodes'), status.redis, node => `${node.redis || ''} ${node.node}`, () => {
    const li = el('li'), text = el('div');
    text.append(el('span', 'name'), el('div', 'mute'));
    li.append(text, el('span', 'pill'));
    return li;
  }, (li, node) => {
    const {redis, node: name, circuit, ...more} = node;
    put(li.querySelector('.name'), (roleOf({redis}) ? `${redis}: ` : '') + name);
    put(li.querySelector('.mute'), facts(more));
    tone(li.querySelector('.pill'), toneOf(circuit), `circuit ${circuit}`);
  });
  figures($('redis'), status.redis.length ? [
    ['Calls a second', number(perSecond('phoenix_redis_calls_total'))],
    ['Calls that failed, last minute', number(over('phoenix_redis_calls_total', l => l.result !== 'ok'))],
    ['Table kept coherent', status.table.near_live ? 'yes' : 'no: every read asks Redis'],
  ] : [['Redis', 'none'], ['Authority', 'this daemon']]);
}

/* Differences within the window; null before there are two samples. */
const base = () => samples[0], last = () => samples[samples.length - 1];
const over = (name, fits) => samples.length < 2 ? null : sum(last().series, name, fits) - sum(base().series, name, fits);
function perSecond(name, fits) {
  const delta = over(name, fits);
  return delta === null ? null : delta / Math.max(0.1, (last().at - base().at) / 1000);
}
function step(name, fits) {
  const [before, now] = samples.slice(-2);
  return now ? sum(now.series, name, fits) - sum(before.series, name, fits) : null;
}

function cache(status) {
  const READS = 'phoenix_cache_reads_total', hit = l => l.source !== 'miss';
  const recent = over(READS), total = Object.values(status.cache_reads).reduce((a, b) => a + b, 0);
  const ratio = recent > 0 ? over(READS, hit) / recent : (total - status.cache_reads.miss) / total;
  put($('ratio'), percent(ratio));
  put($('ratio-over'), recent > 0 ? 'last minute' : total > 0 ? 'since the start' : 'nothing read yet');
  const reads = step(READS);
  if (reads !== null) line.ratio.push(reads > 0 ? step(READS, hit) / reads : null);
  chart($('ratio-line'), line.ratio = line.ratio.slice(-60), 1);
  const sources = Object.entries(status.cache_reads);
  keep($('sources'), sources, item => item[0], item => el('i', `s${sources.findIndex(s => s[0] === item[0])}`), (node, item) => { node.style.flexGrow = item[1]; });
  figures($('reads'), sources.map(([name, n], i) => [`${SOURCES[name] || name}`, total ? `${number(n)} · ${percent(n / total)}` : '0', `s${i}`]));
}

const OWN = ['/', '/status', '/metrics', '/livez', '/readyz', '/openapi.json'];
function load(status, series) {
  const REQUESTS = 'phoenix_http_requests_total', asked = l => !OWN.includes(l.route);
  const rate = perSecond(REQUESTS, asked), [before, now] = samples.slice(-2);
  put($('rate'), rate === null ? '–' : number(rate));
  if (now) line.rate.push(step(REQUESTS, asked) * 1000 / (now.at - before.at));
  chart($('rate-line'), line.rate = line.rate.slice(-60));
  const failed = l => asked(l) && l.status >= '500', bounds = over('phoenix_bound_hit_total');
  figures($('load'), [
    ['Answered 5xx, last minute', number(over(REQUESTS, failed))],
    ['Bounds hit, last minute', number(bounds)],
    ['Connections', number(status.http.connections)],
    ['Bytes in flight', bytes(status.http.inflight_bytes)],
    ['Waiting dequeues', number(status.tasks.waiting)],
    ['Log lines dropped', number(sum(series, 'phoenix_log_lines_dropped_total'))],
  ]);
}

function local(status, series) {
  const {table, spool} = status, exits = over('phoenix_lru_exits_total', l => l.reason === 'budget');
  figures($('local'), [
    ['Table', `${number(table.entries)} entries, ${bytes(table.bytes)}`],
    ['Evicted for room, last minute', number(exits)],
    ['Cache writes to hand back', `${number(table.pending_entries)}, ${bytes(table.pending_bytes)}`],
    ['Spool', `${spool.health}, ${bytes(spool.bytes)}`],
    ['Changes to hand back', number(spool.entries)],
    ['Tasks to hand back', number(sum(series, 'phoenix_tasks_spooled'))],
    spool.oldest && ['Oldest of these', when(spool.oldest)],
    ['Changes a commit', number(spool.groups ? spool.operations / spool.groups : null)],
  ]);
  $('aside').hidden = !spool.set_aside;
  put($('aside').firstElementChild, `${number(spool.set_aside)} changes set aside`);
  keep($('aside').lastElementChild, spool.set_aside_first || [], a => `${a.kind} ${a.id}`, a => {
    const li = el('li');
    li.append(el('div', '', `${a.kind} ${a.id}: ${a.reason}`));
    return li;
  }, () => {});
}

function latency(series) {
  const first = base().series, rows = [], names = {phoenix_redis_call_duration_seconds: 'Redis calls', phoenix_spool_commit_duration_seconds: 'Spool commits'};
  for (const name of ['phoenix_http_request_duration_seconds', ...Object.keys(names)]) {
    const before = histograms(first, name);
    for (const [key, now] of histograms(series, name)) {
      const recent = since(now, samples.length > 1 && before.get(key)), fresh = samples.length > 1 && recent.count > 0;
      if (!now.count || OWN.includes(key)) continue;
      rows.push({what: `${names[name] || ''} ${key === 'all' ? '' : key}`.trim(), of: fresh ? recent : now, over: fresh ? 'last minute' : 'since the start'});
    }
  }
  keep($('latency'), rows, row => row.what, row => {
    const tr = el('tr'), th = el('th', '', row.what);
    th.scope = 'row';
    tr.append(th, el('td'), el('td', 'roomy'), el('td'), el('td'), el('td', 'mute roomy'));
    return tr;
  }, (tr, row) => [0.5, 0.95, 0.99].map(q => quantile(q, row.of)).concat(number(row.of.count), row.over).forEach((text, i) => put(tr.children[i + 1], text)));
}

/* --- the queue --- */

function queue(status) {
  keep($('states'), STATES, state => state, state => {
    const node = button('', () => choose(state));
    node.append(el('b'), el('span', '', state));
    return node;
  }, (node, state) => {
    put(node.firstChild, number(status.tasks[state]));
    node.firstChild.className = (state === 'dead' || state === 'bad') && status.tasks[state] > 0 && tasks.state !== state ? 'bad' : '';
    node.setAttribute('aria-pressed', String(tasks.state === state));
  });
  const {inbox, oldest_ready_s, subscribed} = status.tasks;
  put($('queue'), [`Oldest ready: ${oldest_ready_s > 0 ? span(oldest_ready_s) : 'none'}`, `inbox: ${number(inbox)}`,
    status.redis.length && (subscribed ? 'hears of new tasks at once' : 'looks for new tasks every second')].filter(Boolean).join(' · '));
  const counts = STATES.map(state => status.tasks[state]).join();
  if (counts !== tasks.counts) tasks.due = 0;
  tasks.counts = counts;
}

function choose(state) {
  if (tasks.state === state) return;
  Object.assign(tasks, {state, items: [], cursor: null, partial: false, due: 0, error: ''});
  showTasks();
  turn();
}

/* As many as are shown already, at least a page. */
async function fetchTasks(more) {
  const state = tasks.state, want = more ? tasks.items.length + TASKS_PAGE : Math.max(TASKS_PAGE, tasks.items.length);
  let items = [], cursor = null, partial = false;
  try {
    do {
      const page = await askJson(`/tasks?state=${state}&limit=${TASKS_PAGE}${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
      items = items.concat(page.tasks);
      cursor = page.cursor;
      partial = partial || page.partial === true;
    } while (cursor !== null && items.length < want);
    if (tasks.state === state) Object.assign(tasks, {items, cursor, partial, error: ''});
  } catch (error) {
    if (error.status === 401) throw error;
    Object.assign(tasks, {items: [], cursor: null, error: why(error)});
  }
  tasks.due = Date.now() + LIST_MS;
  showTasks();
}

const keyOf = item => item.task_id || `${item.set_aside_at} ${item.item}`;

function makeTask(item) {
  const li = el('li'), text = el('div'), acts = el('div', 'acts'), state = tasks.state;
  text.append(el('span', 'name'), el('span', 'mute'), el('div', 'why'));
  li.append(text, acts);
  const look = button('Look', () => open(li, look), `Look into ${item.task_id || 'this item'}`);
  look.setAttribute('aria-expanded', 'false');
  acts.append(look);
  if (state === 'dead') acts.append(button('Requeue', event => requeue(item.task_id, event.currentTarget), `Requeue ${item.task_id}`));
  return li;
}

function changeTask(li, item) {
  const [member, word] = TIMES[tasks.state], attempts = item.attempts || [], end = attempts[attempts.length - 1];
  li.item = item;
  put(li.querySelector('.name'), item.task_id || 'no task');
  put(li.querySelector('.mute'), [item.agent && `for ${item.agent}`, item.attempt !== undefined && `attempt ${item.attempt} of ${item.max_attempts}`,
    item.priority && `priority ${item.priority}`, item.enqueued_at && `added ${when(item.enqueued_at)}`, item[member] && `${word} ${when(item[member])}`].filter(Boolean).join(' · '));
  put(li.querySelector('.why'), item.reason || (end ? `${end.outcome} ${when(end.at)}${end.reason ? `: ${end.reason}` : ''}` : ''));
}

async function open(li, look) {
  const shown = li.querySelector('pre');
  look.setAttribute('aria-expanded', String(!shown));
  put(look, shown ? 'Look' : 'Close');
  if (shown) { shown.remove(); return; }
  const pre = el('pre', '', 'Asking …'), id = li.item.task_id;
  pre.tabIndex = 0;
  pre.setAttribute('role', 'region');
  pre.setAttribute('aria-label', id ? `Task ${id}` : 'The item as it came');
  li.append(pre);
  if (!id) { put(pre, li.item.item); return; }
  try {
    put(pre, pretty(await (await ask(`/tasks/${encodeURIComponent(id)}`)).text()));
  } catch (error) {
    put(pre, why(error));
  }
}

function showTasks() {
  const {state, items, cursor, partial, error} = tasks, loading = tasks.due === 0;
  put($('h-list'), TITLES[state]);
  put($('list-note'), error ? `Cannot be shown: ${error}.` : [items.length === 0 ? (loading ? 'Asking …' : 'None.') : cursor !== null ? `The first ${items.length}.` : '',
    partial ? 'Only what this daemon knows: Redis is away.' : ''].filter(Boolean).join(' '));
  $('requeue-all').hidden = $('purge').hidden = state !== 'dead' || items.length === 0;
  $('more-tasks').hidden = cursor === null;
  const list = $('tasks');
  if (list.dataset.state !== state) list.replaceChildren();
  list.dataset.state = state;
  keep(list, items, keyOf, makeTask, changeTask, $('h-list'));
}

/* Once at a time. A button that were disabled meanwhile would lose the focus. */
async function act(node, work) {
  if (node.ariaBusy === 'true') return;
  node.ariaBusy = 'true';
  try {
    say(await work());
  } catch (error) {
    say(`Not done: ${why(error)}.`);
    if (error.status === 401) needToken();
  }
  node.ariaBusy = 'false';
  tasks.due = 0;
  turn();
}
const requeue = (id, node) => act(node, async () => {
  await ask(`/tasks/${encodeURIComponent(id)}/requeue`, 'POST');
  return `Requeued ${id}.`;
});
$('requeue-all').addEventListener('click', event => act(event.currentTarget, async () => {
  let done = 0, page;
  do {
    page = await askJson('/tasks?state=dead&limit=100');
    for (const {task_id: id} of page.tasks) {
      await ask(`/tasks/${encodeURIComponent(id)}/requeue`, 'POST');
      say(`Requeued ${++done} …`);
    }
  } while (page.tasks.length > 0 && page.cursor !== null);
  return `Requeued ${number(done)} tasks.`;
}));
$('purge').addEventListener('click', () => {
  put($('sure-what'), 'Purge all dead tasks? They are deleted for good, with what was to be done.');
  $('sure').returnValue = '';
  $('sure').showModal();
});
$('sure').addEventListener('close', () => {
  if ($('sure').returnValue !== 'yes') return;
  act($('purge'), async () => {
    const {purged, left} = await (await ask('/tasks?state=dead', 'DELETE')).json();
    return `Purged ${number(purged)} tasks${left > 0 ? `, ${number(left)} are left` : ''}.`;
  });
});
$('more-tasks').addEventListener('click', () => fetchTasks(true).catch(fail));

/* --- agents --- */

/* Values are found by walking all keys, so a round is bounded, and goes on where the last one ended if asked. */
async function fetchAgents(more) {
  let items = more ? agents.items : [], cursor = more ? agents.cursor : null, partial = false;
  try {
    for (let i = 0; i < AGENTS_PAGES && (i === 0 || cursor !== null); i++) {
      const page = await askJson(`/health?limit=${AGENTS_PAGE}${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
      items = items.concat(page.agents);
      cursor = page.cursor;
      partial = partial || page.partial === true;
    }
    items = [...new Map(items.map(agent => [agent.agent_id, agent])).values()];
    Object.assign(agents, {items, cursor, partial, error: ''});
  } catch (error) {
    if (error.status === 401) throw error;
    Object.assign(agents, {items: [], cursor: null, error: why(error)});
  }
  agents.due = Date.now() + AGENTS_MS;
  showAgents();
}

function showAgents() {
  const rank = agent => (agent.circuit === 'Open' ? 0 : agent.circuit === 'HalfOpen' ? 1 : 4) + ['Unhealthy', 'Degraded', 'Unknown', 'Healthy'].indexOf(agent.health);
  const sorted = [...agents.items].sort((a, b) => rank(a) - rank(b) || (a.agent_id < b.agent_id ? -1 : 1)), {error, cursor} = agents;
  put($('agents-note'), error ? `Cannot be shown: ${error}.` : [sorted.length ? '' : 'None.', agents.partial ? 'Only what this daemon knows: Redis is away.' : '',
    cursor !== null ? 'Not all keys were looked at yet.' : ''].filter(Boolean).join(' '));
  $('more-agents').hidden = cursor === null;
  keep($('agents'), sorted, agent => agent.agent_id, agent => {
    const li = el('li'), text = el('div'), acts = el('div', 'acts');
    text.append(el('span', 'name', agent.agent_id), el('span', 'mute'));
    acts.append(el('span', 'pill'), el('span', 'pill'));
    li.append(text, acts);
    return li;
  }, (li, agent) => {
    const [health, circuit] = all(li, '.pill'), failed = agent.consecutive_failures;
    tone(health, toneOf(agent.health), agent.health || 'Unknown');
    tone(circuit, toneOf(agent.circuit), `circuit ${agent.circuit}`);
    put(li.querySelector('.mute'), [failed ? `${number(failed)} failure${failed === 1 ? '' : 's'} in a row` : '', agent.circuit === 'Open' && agent.circuit_open_until ? `tried again ${when(agent.circuit_open_until)}` : '',
      agent.last_failure_at && `last failure ${when(agent.last_failure_at)}`, agent.last_success_at && `last success ${when(agent.last_success_at)}`].filter(Boolean).join(' · '));
  });
}
$('more-agents').addEventListener('click', () => fetchAgents(true).catch(fail));

/* --- the turn --- */

function show(status, series) {
  const at = Date.now(), started = sum(series, 'phoenix_start_time_seconds');
  if (samples.length && started !== samples[0].started) {
    samples = []; /* another process: its counters began anew */
    line.ratio = [];
    line.rate = [];
  }
  samples.push({at, series, started});
  while (samples.length > 2 && samples[1].at < at - WINDOW_MS) samples.shift();
  if (status.mode !== mode) tasks.due = agents.due = 0;
  mode = status.mode;
  tone($('state'), toneOf(status.status), status.status);
  const some = status.redis.some(node => node.circuit === 'closed');
  put($('mode'), {embedded: 'embedded: no Redis', degraded: some ? 'a Redis is away' : 'Redis is away', redis: 'with Redis'}[status.mode] || status.mode);
  put($('version'), status.version);
  document.title = `${status.status === 'ready' ? '' : `${status.status} · `}phoenix-cached`;
  notes(status, series);
  nodes(status);
  cache(status);
  load(status, series);
  local(status, series);
  latency(series);
  queue(status);
  $('all').hidden = false;
  $('ask').hidden = $('trouble').hidden = true;
}

function needToken() {
  const asked = !$('ask').hidden;
  $('refused').hidden = !token && !asked;
  forget();
  for (const id of ['all', 'trouble']) $(id).hidden = true;
  tone($('state'), 'warn', 'token needed');
  put($('mode'), '');
  $('ask').hidden = false;
  $('token').focus();
}
function forget() {
  token = '';
  try { sessionStorage.removeItem('token'); } catch { /* as above */ }
  $('forget').hidden = true;
}
function fail(error) {
  if (error.status === 401) { needToken(); return; }
  failures++;
  const hint = error.status === 403 ? ' Open this page over loopback (kubectl port-forward does), or set http.token_file, or http.allowed_hosts for this name.' : '';
  put($('trouble'), `No ${lastGood ? 'new ' : ''}figures: ${why(error)}.${hint} Trying again${failures > 2 ? ', less and less often' : ''}.`);
  $('trouble').hidden = false;
  const state = error.status ? 'refused' : 'no answer';
  tone($('state'), 'bad', state);
  document.title = `${state} · phoenix-cached`;
}
function tell() {
  put($('fresh'), lastGood ? `as of ${when(new Date(lastGood + clockAhead).toISOString())}${paused ? ', paused' : ''}` : '');
}

async function turn() {
  clearTimeout(timer);
  if (busy) { again = true; return; }
  busy = true;
  again = false;
  try {
    const [status, text] = await Promise.all([askJson('/status'), ask('/metrics').then(answer => answer.text())]);
    failures = 0;
    lastGood = Date.now();
    show(status, parse(text));
    $('forget').hidden = !token;
    if (lastGood >= tasks.due) await fetchTasks();
    if (lastGood >= agents.due) await fetchAgents();
  } catch (error) {
    fail(error);
  }
  busy = false;
  tell();
  if (again) { turn(); return; }
  if (paused || !$('ask').hidden) return;
  timer = setTimeout(turn, document.hidden ? SLOW_MS : Math.min(SLOW_MS, POLL_MS * 2 ** failures));
}

/* --- what a reader does --- */

$('ask').addEventListener('submit', event => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  try { sessionStorage.setItem('token', token); } catch { /* as above */ }
  tasks.due = agents.due = 0;
  turn().then(() => { if ($('ask').hidden) $('main').focus(); });
});
$('forget').addEventListener('click', () => { forget(); samples = []; turn(); });
$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  if (paused) clearTimeout(timer);
  tell();
  if (!paused) turn();
});
document.addEventListener('visibilitychange', () => { if (!document.hidden && !paused && $('ask').hidden) turn(); });

const dark = matchMedia('(prefers-color-scheme: dark)');
let theme = null;
try { theme = localStorage.getItem('theme'); } catch { /* the system's holds */ }
function paint() {
  if (theme) document.documentElement.dataset.theme = theme;
  put($('theme'), (theme || (dark.matches ? 'dark' : 'light')) === 'dark' ? 'Light' : 'Dark');
}
$('theme').addEventListener('click', () => {
  theme = $('theme').textContent.toLowerCase();
  try { localStorage.setItem('theme', theme); } catch { /* until the page is left */ }
  paint();
});
dark.addEventListener('change', paint);

paint();
setInterval(tell, 1000);
turn();
