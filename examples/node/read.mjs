// Read a balance and of which minute it is: node read.mjs 1_Visa
import Redis from "ioredis";

const URL = process.env.KEYDB_URL ?? "redis://127.0.0.1:6379/0";
const SHARDS = BigInt(process.env.SHARDS ?? 1);
const key = process.argv[2];
if (key === undefined) {
  console.error("usage: node read.mjs KEY, for example 1_Visa");
  process.exit(1);
}

let mark = "minutebook:watermark";
if (SHARDS > 1n) {
  // Each shard has its own, and a key begins with its provider's id.
  mark += `:${((BigInt(key.split("_")[0]) % SHARDS) + SHARDS) % SHARDS}`;
}
// A program that runs on keeps the default, which connects again and again.
const store = new Redis(URL, { retryStrategy: () => null });
store.on("error", (error) => console.error(error.message));
// Both in one MULTI: never a balance of one tick with the time of another.
const [[, balance], [, watermark]] = await store
  .multi()
  .get(key)
  .hmget(mark, "boundary", "applied_at", "epoch", "token")
  .exec();
store.disconnect();
const [boundary, , epoch, token] = watermark;
if (balance === null || boundary === null) throw new Error(`${key}: nothing is shown yet`);
if (token.startsWith("partial:")) throw new Error("balances are being changed: read again");
// Minor units, as a decimal string: a BigInt holds all of it, a Number does not.
console.log(`${key} ${BigInt(balance)} as of ${boundary} (tick ${epoch})`);
