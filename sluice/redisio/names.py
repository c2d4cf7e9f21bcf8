"""The table of all keys that a queue has in Redis, for Python and for Lua.

All names begin with the queue's hash tag, `{default}` for the queue `default`. A cluster keeps keys
of one tag on one node, so a script may touch all of them. All times are Redis's own, in seconds
since the epoch: the clocks of hosts may differ. `key_name` is the name of an API key.

Python reads `Names("default").prediction("a")`, which is `{default}:prediction:a`. Scripts call
`prediction_key('a')`: `lua_names` writes these functions. Two kinds of keys stand elsewhere, since
they have no hash tag: blobs (`sluice/blobs/store.py`) and Celery's (`sluice/intake/doorbell.py`).
"""

import re
from collections.abc import Callable


class Key:
    """One key of a queue. `Names(queue).attribute` is its name; Lua has it as `attribute_key`."""

    _suffix = "key"

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __set_name__(self, owner: type, attribute: str) -> None:
        self._lua_name = f"{attribute}_{self._suffix}"

    def __get__(self, names: "Names", owner: type | None = None) -> str:
        return f"{names.tag}:{self._pattern}"

    def lua(self) -> str:
        """A line that defines the name in Lua, from the local `tag`."""
        return f"local {self._lua_name} = tag .. ':{self._pattern}'"


class Channel(Key):
    """A channel of publish and subscribe. Lua has its name as `attribute_channel`."""

    _suffix = "channel"


class KeyFor:
    """A family of keys: each `<part>` of the pattern is an argument, in Python and in Lua."""

    _suffix = "key"

    def __init__(self, pattern: str) -> None:
        self._parts = re.findall(r"<(\w+)>", pattern)
        self._template = "%s:" + re.sub(r"<\w+>", "%s", pattern)

    def __set_name__(self, owner: type, attribute: str) -> None:
        self._lua_name = f"{attribute}_{self._suffix}"

    def __get__(self, names: "Names", owner: type | None = None) -> Callable[..., str]:
        return lambda *parts: self._template % (names.tag, *parts)

    def lua(self) -> str:
        """A line that defines a function in Lua, from the local `tag`."""
        name = self._template % ("tag .. '", *(f"' .. {part} .. '" for part in self._parts))
        name = name.removesuffix(" .. '")
        return f"local function {self._lua_name}({', '.join(self._parts)}) return {name} end"


class ChannelFor(KeyFor):
    """A family of channels. Lua has its name as `attribute_channel(…)`."""

    _suffix = "channel"


class Names:
    """The names of one queue's keys."""

    def __init__(self, queue: str) -> None:
        self.tag = f"{{{queue}}}"

    # Predictions; see `sluice/ledger/predictions.py`.

    prediction = KeyFor("prediction:<prediction_id>")
    """Hash: the record of a prediction. Expires some time after the prediction's end."""

    gone = KeyFor("gone:<prediction_id>")
    """String: the prediction's `key_name`. Outlives the record, so that a used id is recognized."""

    ready = KeyFor("ready:<priority>:<key_name>")
    """Sorted set: ids that wait only for their turn, scored by the time they became ready."""

    turns = KeyFor("turns:<priority>")
    """Sorted set: each `key_name` with ready predictions, scored by the time of its last turn."""

    delayed = Key("delayed")
    """Sorted set: ids that become ready later, scored by that time."""

    alone = Key("alone")
    """Sorted set: ids that must run alone, since their leases lapsed. Scored as `delayed`."""

    leases = Key("leases")
    """Sorted set: ids that run, scored by the time at which the lease lapses."""

    deadlines = Key("deadlines")
    """Sorted set: all ids that wait, scored by the time at which they are aborted."""

    live = Key("live")
    """Sorted set: queued and running ids, scored by creation. The backlog; KEDA reads it."""

    recent = Key("recent")
    """Sorted set: the one member `last`, scored by the last creation's second. Expires.

    KEDA reads it.
    """

    backlogs = Key("backlogs")
    """Hash: how many live predictions each `key_name` has."""

    bytes = Key("bytes")
    """Number: the size of the images of all live predictions."""

    turn = Key("turn")
    """Number: claims so far; some of them look at a lower priority first."""

    dead = Key("dead")
    """Sorted set: ids of dead letters, scored by their end."""

    unkept = Key("unkept")
    """Sorted set: dead letters whose images do not live as long as their records yet.

    Scored as `dead`.
    """

    index = KeyFor("index:<key_name>")
    """Sorted set: ids of one `key_name` with records, scored by creation; see `history.py`."""

    expiring = Key("expiring")
    """Sorted set: `<key_name> <id>`, scored by the time at which the index forgets the id."""

    ended = KeyFor("ended:<bucket>")
    """Number: how many ended in the n-th ten seconds while others waited. The drain rate."""

    workers = Key("workers")
    """Sorted set: worker processes, scored by the time until which each counts as alive."""

    troubled = Key("troubled")
    """Sorted set: those workers that lack Triton or the blob store, with the same scores. Expires.

    A troubled worker is in both sets.
    """

    present = KeyFor("present:<run>")
    """Sorted set: workers that have subscribed in this run, scored by their last sign. Expires.

    A run is the time of one process of Redis as the primary. See `presence.lua`.
    """

    timeline = KeyFor("timeline:<minute>")
    """Hash: counts and samples of the n-th minute since the epoch; see `timeline.py`. Expires."""

    worker = ChannelFor("worker:<name>")
    """Channel: silent; a worker's subscription to it shows that the process lives."""

    events = Channel("events")
    """Channel: `<id> <status>` at each change of a prediction, and at the end of a batch."""

    # Batches; see `sluice/ledger/batches.py`.

    batch = KeyFor("batch:<batch_id>")
    """Hash: the record of a batch, with a count for each status. Expires after its end."""

    gone_batch = KeyFor("gone:batch:<batch_id>")
    """String: the batch's `key_name`. Outlives the record."""

    batches = Key("batches")
    """Sorted set: batches that are being submitted or canceled, scored by the next sweep's time."""

    # Deliveries; see `sluice/ledger/deliveries.py`.
    # A receiver is `<key_name>/<SHA-1 of the origin>`.

    delivery = KeyFor("delivery:<delivery_id>")
    """Hash: the record of a delivery. Expires."""

    delivery_log = KeyFor("delivery-log:<delivery_id>")
    """List: the delivery's last attempts, as JSON. Expires with the record."""

    deliveries = Key("deliveries")
    """Sorted set: ids that are due or being sent, except those of a paused receiver.

    KEDA reads it.
    """

    deliveries_open = Key("deliveries-open")
    """Sorted set: ids that are not settled, scored by the first attempt, before it by creation."""

    deliveries_sending = Key("deliveries-sending")
    """Sorted set: ids that are being sent, scored by the time at which the claim lapses."""

    deliveries_dead = Key("deliveries-dead")
    """Sorted set: ids of dead deliveries, scored by their end."""

    receiver_turns = Key("receiver-turns")
    """Sorted set: each `key_name` with deliveries to send, scored by the time of the next try."""

    receivers = KeyFor("receivers:<key_name>")
    """Sorted set: receivers of one `key_name` with deliveries to send.

    Scored as `receiver_turns`.
    """

    receiver = KeyFor("receiver:<receiver>")
    """Hash: the failures of a receiver, and the end of its pause. Expires."""

    receiver_ready = KeyFor("receiver-ready:<receiver>")
    """Sorted set: ids that wait for the receiver, scored by the time at which they are due."""

    receiver_sending = KeyFor("receiver-sending:<receiver>")
    """Set: ids that any sender is sending to the receiver."""

    key_sending = KeyFor("key-sending:<key_name>")
    """Set: ids that any sender is sending to any receiver of one `key_name`."""

    endpoint_stopped = KeyFor("endpoint-stopped:<endpoint>")
    """String, empty: a URL that has answered 410. Expires."""

    deliveries_news = Channel("deliveries-news")
    """Channel: a delivery is due."""

    # Secrets; see `sluice/webhooks/secrets.py`.

    webhook_secrets = Key("webhook-secrets")
    """Hash: the secrets of each `key_name`, the newest first. Configuration: it never expires."""

    # Files; see `sluice/blobs/files.py`.

    file = KeyFor("file:<file_id>")
    """Hash: the record of a file. Expires with the file."""

    files = KeyFor("files:<key_name>")
    """Sorted set: ids of one `key_name`, scored by creation."""

    files_used = KeyFor("files-used:<key_name>")
    """Sorted set: members of `file_ends` that were submitted, scored by the last time."""

    file_ends = Key("file-ends")
    """Sorted set: `<key_name> <size> <id>`, scored by the time at which the file expires."""

    file_bytes = Key("file-bytes")
    """Hash: how many bytes each `key_name` holds; all together in the field `*`."""

    # Models; see `sluice/redisio/kept_models.py`.

    models = Key("models")
    """String: the list of models as an api last saw it, as JSON. Expires."""

    # Health; see `sluice/redisio/health.py`.

    probe = Key("probe")
    """String, empty: written to learn whether Redis takes writes. Expires."""

    mark = Key("mark")
    """String: a random name of this data. Never expires: without it, the data was lost."""

    loss = Key("loss")
    """String: words on data that was lost. Expires after an hour."""

    probe_channel = Channel("probe")
    """Channel: written to learn whether the user may publish. Has no readers."""

    # Rates; see `sluice/access/ratelimit.py`.

    rate = KeyFor("rate:<key_name>")
    """Hash: the level of one `key_name`, and its time. Expires after the level is 0."""


def lua_names(*attributes: str) -> str:
    """Lua that defines these names, or all of them. The script has a local `tag`."""
    keys = {name: key for name, key in vars(Names).items() if isinstance(key, (Key, KeyFor))}
    return "\n".join(keys[name].lua() for name in attributes or keys)
