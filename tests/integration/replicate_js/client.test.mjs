// The npm package `replicate`, pointed at the live stack; run by test_replicate_client.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import Replicate, { validateWebhook } from "replicate";

const { api, sample, webhook, workers, keyed } = JSON.parse(process.env.SLUICE_TEST);
const client = (options) => new Replicate({ auth: "any", baseUrl: `${api}/v1`, ...options });
const replicate = client();
const bytes = readFileSync(sample);
const image = `data:image/jpeg;base64,${bytes.toString("base64")}`;

const found = (output) => {
  assert.ok(output.predictions.length > 0);
  return output.predictions.map((entry) => ({ ...entry, detection_id: "" }));
};
const fails = (promise, status, words) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.name, "ApiError");
    assert.equal(error.response.status, status);
    assert.match(error.message, words);
    return true;
  });

test("create, wait, get", async () => {
  const made = await replicate.predictions.create({ version: "codes", input: { image, confidence: 0.3 } });
  assert.equal(made.status, "starting");
  const ended = await replicate.wait(made, { interval: 50 });
  assert.equal(ended.status, "succeeded");
  assert.deepEqual(await replicate.predictions.get(made.id), ended);
  assert.equal(ended.input.confidence, 0.3);
});

test("run, every way to name a model", async () => {
  const blocking = await replicate.run("sluice/codes", { input: { image } });
  const versioned = await replicate.run("sluice/codes:codes", { input: { image } });
  const states = [];
  const polled = await replicate.run(
    "sluice/codes", { input: { image }, wait: { mode: "poll", interval: 50 } }, (prediction) => states.push(prediction.status),
  );
  assert.deepEqual(found(versioned), found(blocking));
  assert.deepEqual(found(polled), found(blocking));
  assert.equal(states.at(-1), "succeeded");
});

test("list, page by page", async () => {
  const made = [];
  for (let number = 0; number < 3; number++) {
    made.unshift((await replicate.predictions.create({ version: "codes", input: { image }, wait: 30 })).id);
  }
  const { results } = await replicate.predictions.list();
  assert.deepEqual(results.slice(0, 3).map(({ id }) => id), made);
  const first = () => replicate.request("/predictions", { params: { limit: 2 } }).then((answer) => answer.json());
  const pages = [];
  for await (const page of replicate.paginate(first)) {
    pages.push(page.map(({ id }) => id));
    if (pages.length === 2) break;
  }
  assert.deepEqual(pages.flat().slice(0, 3), made);
});

test("cancel", async () => {
  const create = () => replicate.predictions.create({ version: "codes", input: { image } });
  let before, last;
  for (const pid of workers) process.kill(pid, "SIGSTOP");  // so that all of them wait
  try {
    before = await Promise.all(Array.from({ length: 5 }, create));
    last = await create();
    assert.equal((await replicate.predictions.cancel(last.id)).status, "canceled");
  } finally {
    for (const pid of workers) process.kill(pid, "SIGCONT");
  }
  await fails(replicate.predictions.cancel(last.id), 409, /ended already/);
  for (const one of before) {
    assert.equal((await replicate.wait(one, { interval: 50 })).status, "succeeded");
  }
  assert.equal((await replicate.predictions.get(last.id)).output, null);
});

test("stream", async () => {
  const events = [];
  for await (const event of replicate.stream("sluice/codes", { input: { image } })) {
    events.push(event);
  }
  const kinds = events.map(({ event }) => event);
  assert.deepEqual(new Set(kinds), new Set(["logs", "output", "done"]));
  assert.deepEqual(kinds.slice(-2), ["output", "done"]);
  assert.deepEqual(found(JSON.parse(String(events.at(-2)))), found(await replicate.run("sluice/codes", { input: { image } })));
});

test("files", async () => {
  const file = await replicate.files.create(new File([bytes], "a.jpg", { type: "image/jpeg" }), { of: ["mine"] });
  assert.deepEqual([file.name, file.content_type, file.size], ["a.jpg", "image/jpeg", bytes.length]);
  assert.deepEqual(file.metadata, { of: ["mine"] });
  assert.deepEqual(await replicate.files.get(file.id), file);
  assert.ok((await replicate.files.list()).results.some(({ id }) => id === file.id));
  assert.ok(found(await replicate.run("sluice/codes", { input: { image: file.urls.get } })));
  assert.equal(await replicate.files.delete(file.id), true);
  await fails(replicate.files.get(file.id), 404, /upload it again/);
});

for (const fileEncodingStrategy of ["default", "upload"]) {  // "data-uri" of 1.4.0 sends the client itself as the input
  test(`a file as input: ${fileEncodingStrategy}`, async () => {
    const before = (await replicate.files.list()).results.length;
    const output = await client({ fileEncodingStrategy }).run("sluice/codes", { input: { image: new Blob([bytes]) } });
    assert.deepEqual(found(output), found(await replicate.run("sluice/codes", { input: { image } })));
    assert.equal((await replicate.files.list()).results.length, before + 1);
  });
}

test("models", async () => {
  const codes = await replicate.models.get("sluice", "codes");
  assert.ok((await replicate.models.list()).results.some(({ name }) => name === "codes"));
  assert.deepEqual((await replicate.models.versions.list("sluice", "codes")).results, [codes.latest_version]);
  assert.deepEqual(await replicate.models.versions.get("sluice", "codes", "codes"), codes.latest_version);
});

test("errors", async () => {
  await fails(replicate.run("sluice/codes", { input: { image: "data:text/plain;base64,aGVsbG8=" } }), 415, /not_an_image/);
  await fails(replicate.run("sluice/cats", { input: { image } }), 422, /unknown_model/);
  await fails(replicate.models.get("sluice", "cats"), 404, /there is .*codes/);
});

test("webhooks", async () => {
  assert.equal(await validateWebhook(webhook, webhook.secret), true);
  assert.equal(await validateWebhook({ ...webhook, body: `${webhook.body} ` }, webhook.secret), false);
  assert.match((await replicate.webhooks.default.secret.get()).key, /^whsec_/);
});

test("stream where keys are on, to which it sends none", async () => {
  const own = client({ auth: keyed.key, baseUrl: `${keyed.api}/v1` });
  const kinds = [];
  for await (const { event } of own.stream("sluice/codes", { input: { image } })) {
    kinds.push(event);
  }
  assert.deepEqual(kinds.slice(-2), ["output", "done"]);
  await fails(client({ baseUrl: `${keyed.api}/v1` }).predictions.list(), 401, /no valid key/);
});
