// What both gateways on Node share: who may call, from where, and what a message must keep.
import cluster from 'node:cluster';
import fs from 'node:fs';
import Ajv from 'ajv/dist/2020.js';

export const setting = JSON.parse(fs.readFileSync(process.argv[2]));
// A key's `Authorization`, and how often it may come in a second.
export const rates = new Map(setting.keys.map((key) => [`Bearer ${key}`, 1e6]));
rates.set(`Bearer ${setting.limited_key}`, 1);
export const pages = new Set(['https://app.example.com', 'https://admin.example.com']);
export const upstream = setting.scheme === 'https'
  ? `https://localhost:${setting.upstream_port}` : `http://127.0.0.1:${setting.upstream_port}`;
export const ca = fs.readFileSync(setting.ca);

// The values at a path such as `*/rows/*`.
const at = (value, path) => path.split('/').reduce(
  (found, name) => found.flatMap((inner) => name === '*' ? (Array.isArray(inner) ? inner : [])
    : inner !== null && typeof inner === 'object' && name in inner ? [inner[name]] : []), [value]);

export function newAjv() {
  const ajv = new Ajv({ strict: false });
  ajv.addKeyword({ keyword: 'x-uniqueBy', type: 'array', validate: (paths, value) => paths.every((path) => {
    const found = at(value, path);
    return new Set(found).size === found.length;
  }) });
  ajv.addKeyword({ keyword: 'x-maxTotalItems', type: 'array',
    validate: ({ path, limit }, value) => at(value, path).length <= limit });
  ajv.addKeyword({ keyword: 'x-trimmed', type: 'string', validate: (wanted, value) => !wanted || value.trim() === value });
  return ajv;
}
export const schema = JSON.parse(fs.readFileSync(setting.schema));

// One process for each worker.
export function run(serve) {
  if (setting.workers === 1 || !cluster.isPrimary) return serve();
  for (let worker = 0; worker < setting.workers; worker++) cluster.fork();
}
