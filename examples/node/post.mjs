// Post transactions by HTTP: node post.mjs FILE [KEY]. FILE is .json, .ndjson or .csv. Needs Node 20.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { setTimeout } from "node:timers/promises";

const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:8080";
const token = process.env.GATEWAY_TOKEN ?? "password";
const kinds = { ".json": "application/json", ".ndjson": "application/x-ndjson", ".csv": "text/csv" };
const again = new Set([408, 429, 500, 502, 503, 504]);

// Keep the key with what you send: after a crash, send the same again under the same key.
const [file, key = randomUUID()] = process.argv.slice(2);
const body = await readFile(file);
const headers = {
  Authorization: `Bearer ${token}`, "Content-Type": kinds[extname(file)], "Idempotency-Key": key,
};

async function post(pause = 500) {
  let wait = pause;
  try {
    const answer = await fetch(`${url}/v1/transactions`, { method: "POST", headers, body });
    if (!again.has(answer.status)) return answer;
    wait = Math.max(wait, 1000 * Number(answer.headers.get("Retry-After") ?? 0));
  } catch (error) { // it may have come all the same
    console.error(`${error.cause?.code ?? error.message}: trying again`);
  }
  await setTimeout(wait * (0.5 + Math.random() / 2));
  return post(Math.min(2 * pause, 60_000));
}

const answer = await post();
console.log(JSON.stringify(await answer.json()));
process.exitCode = answer.status === 202 ? 0 : 1;
