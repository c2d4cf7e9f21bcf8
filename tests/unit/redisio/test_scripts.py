"""The loader of Lua scripts: includes, located errors, and a Redis that forgot the script."""

import pytest
import redis
from redis.exceptions import ResponseError

from sluice.redisio.multiplexed import MultiplexedConnection
from sluice.redisio.scripts import Script, assemble, run, run_async
from sluice.settings import RedisAddress

CLOCK = "sluice/redisio/lua/include/clock.lua"


def script(text: str, **generated: str) -> Script:
    return assemble("x.lua", text, "sluice.redisio", generated)


def test_each_include_is_joined_once_and_keeps_its_lines() -> None:
    joined = script("-- @include clock\n-- @include time\nreturn exact(now)")
    assert joined.text.count("local time =") == 1
    assert "@include" not in joined.text
    assert joined.origins[0] == (CLOCK, 1)
    assert joined.origins[-1] == ("x.lua", 3)
    assert len(joined.origins) == len(joined.text.splitlines())


def test_a_generated_include_comes_before_a_file() -> None:
    assert "local time = {1, 2}" in script("-- @include clock", time="local time = {1, 2}").text


def test_generated_names_that_no_line_uses_are_left_out() -> None:
    names = "local a = 1\nlocal b = 2\nlocal function c(x) return x end"
    assert script("-- @include names\n-- c\nreturn a", names=names).text == (
        "local a = 1\n-- c\nreturn a\n"
    )


def test_a_script_knows_which_limits_it_uses() -> None:
    assert script("return limits.a + limits.b_s").limits == {"a", "b_s"}


def test_a_missing_include_is_named_with_its_line() -> None:
    with pytest.raises(LookupError, match=r"x\.lua:2: .*'nothing'"):
        script("\n-- @include nothing")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("-- @include clock\nlocal x = nil\nreturn x.y", 3),
        ("-- @include clock\nreturn redis.call('HSET', 'a')", 2),
        ("-- @include clock\nlocal x =\n= 3", 3),
    ],
)
def test_an_error_in_a_script_names_the_file(
    redis_client: "redis.Redis", text: str, line: int
) -> None:
    with pytest.raises(ResponseError, match=rf"x\.lua:{line}: ") as caught:
        run(redis_client, script(text).call([], []))
    assert "user_script" not in str(caught.value)


def test_an_error_in_an_include_names_that_file(redis_client: "redis.Redis") -> None:
    planted = script("-- @include clock\n-- @include part\nreturn x", part="\nlocal x = nil + 1")
    with pytest.raises(ResponseError, match=r"sluice/redisio/lua/include/part\.lua .*:2: "):
        run(redis_client, planted.call([], []))


@pytest.mark.parametrize(
    "message",
    [
        "ERR Error running script (call to f_0a1b): @user_script:4: user_script:4: no",  # 6.2
        "ERR user_script:4: mine script: 0a1b, on @user_script:4.",  # 7 and 8
        "ERR Error compiling script (new function): user_script:4: '=' expected near 'x'",
    ],
)
def test_the_wordings_of_all_servers_are_read(message: str) -> None:
    located = script("-- @include time\n\nreturn 1").locate(message)
    assert "x.lua:3" in located
    assert "user_script" not in located


def test_a_line_outside_of_the_script_stays(redis_client: "redis.Redis") -> None:
    assert script("return 1").locate("user_script:99: x") == "user_script:99: x"


def test_a_redis_that_forgot_the_script_learns_it(redis_client: "redis.Redis") -> None:
    call = script("return {KEYS[1], ARGV[1]}").call(["a"], [1.5])
    redis_client.script_flush()
    assert run(redis_client, call) == [b"a", b"1.5"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_call_on_the_event_loop(redis_url: str, redis_client: "redis.Redis") -> None:
    connection = MultiplexedConnection(RedisAddress.parse(redis_url))
    try:
        call = script("return redis.call('GET', KEYS[1])").call(["a"], [])
        assert await run_async(connection, call, [("SET", "a", "b")]) == [b"OK", b"b"]
        refused, error = await run_async(
            connection, script("\nreturn nil + 1").call([], []), [("SET", "a")]
        )
        assert isinstance(refused, ResponseError)
        assert isinstance(error, ResponseError)
        assert "x.lua:2: " in str(error)
    finally:
        connection.close()
