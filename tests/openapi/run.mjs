// run: DOCUMENT BUILD DIR [SCENARIO,…]: every scenario, then what was wrong and what nobody showed.
import fs from 'node:fs';
import { Contract } from './contract.mjs';
import { excused } from './excused.mjs';
import { scenarios } from './scenarios.mjs';
import { World } from './world.mjs';

const [, , document, build, dir, only] = process.argv;
const contract = new Contract(JSON.parse(fs.readFileSync(document)));
for (const [name, scenario] of Object.entries(scenarios)) {
    if (only && !only.split(',').includes(name)) continue;
    const from = Date.now();
    await scenario(new World(`${dir}/${name}`, `${build}/phoenix-cached`, `${build}/tests/preload/failing_disk.so`), contract);
    console.log(`ran     ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
}
fs.writeFileSync(`${dir}/answers.json`, JSON.stringify(contract.shown, null, 2));
const { missing, unused } = contract.gaps(excused);
for (const fault of contract.faults) console.log(`FAILED  ${fault}`);
for (const one of missing) console.log(`FAILED  documented, but nobody showed it: ${one}`);
for (const [pattern] of unused) console.log(`FAILED  excused without need: ${pattern}`);
const { statuses, codes } = contract.named();
console.log(`${contract.operations.size} operations, ${statuses.length} statuses, ${codes.length} codes; ${contract.faults.length} faults, ${missing.length} not shown`);
process.exit(contract.faults.length + missing.length + unused.length ? 1 : 0);
