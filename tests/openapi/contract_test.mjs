// contract_test: DOCUMENT: that the judge finds each kind of fault, on answers spoilt on purpose.
import assert from 'node:assert';
import fs from 'node:fs';
import { Contract } from './contract.mjs';

const spec = JSON.parse(fs.readFileSync(process.argv[2]));
const good = {
    status: 200,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', 'phoenix-backend': 'redis', date: 'Mon, 23 Nov 2026 04:00:00 GMT' },
    body: '{"owner":"orchestrator-1","fence":1795406400000000,"ttl_left_ms":29990}',
};
const faultsOf = (id, answer) => {
    const contract = new Contract(spec);
    contract.judge(id, answer);
    return contract.faults;
};
const without = (name) => Object.fromEntries(Object.entries(good.headers).filter(([other]) => other !== name));

assert.deepEqual(faultsOf('getLock', good), []);
const spoilt = {
    'an undocumented status': { ...good, status: 418 },
    'a missing header': { ...good, headers: without('phoenix-backend') },
    'a wrong header': { ...good, headers: { ...good.headers, 'phoenix-backend': 'memcached' } },
    'an undocumented header': { ...good, headers: { ...good.headers, 'x-powered-by': 'phoenix' } },
    'another content type': { ...good, headers: { ...good.headers, 'content-type': 'text/plain' } },
    'no JSON': { ...good, body: '{"owner":' },
    'a missing member': { ...good, body: '{"owner":"orchestrator-1"}' },
    'a wrong type': { ...good, body: good.body.replace('29990', '"soon"') },
    'a problem of another status': { ...good, status: 404, headers: { ...good.headers, 'content-type': 'application/problem+json' } },
};
for (const [what, answer] of Object.entries(spoilt)) assert.notEqual(faultsOf('getLock', answer).length, 0, what);
assert.notEqual(faultsOf('getLockHead', good).length, 0, 'a body for HEAD');
assert.deepEqual(faultsOf('getLockHead', { ...good, body: '' }), []);

const contract = new Contract(spec);
contract.judge('getLock', good);
const { missing, unused } = contract.gaps([[/^getLock 404$/, 'an excuse'], [/^getLock 200$/, 'one that nothing needs']]);
assert.ok(missing.includes('getLock 409') && missing.includes('LockTaken lock_not_acquired'));
assert.ok(!missing.includes('getLock 200') && !missing.includes('getLock 404'));
assert.equal(unused.length, 1);
assert.ok(missing.some((one) => one.startsWith('the example LockTaken ')));
