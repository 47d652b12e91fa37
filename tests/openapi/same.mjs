// same: YAML JSON: fails where YAML 1.2 reads the one file as something else than the other.
import fs from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { parse } from 'yaml';

const [, , yaml, json] = process.argv;
process.exit(isDeepStrictEqual(parse(fs.readFileSync(yaml, 'utf8')), JSON.parse(fs.readFileSync(json))) ? 0 : 1);
