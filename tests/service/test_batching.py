"""The queue in front of the network: what shares a batch, what is refused, what leaves, what is answered at the end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bentoml_service.batching import MicroBatcher
from bentoml_service.problems import RequestError


def frame(value: int) -> np.ndarray:
    return np.full((4, 4), value, np.uint8)


class Network:
    """Says of each frame its first pixel; waits at a gate, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.gate.set()

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.batches.append(frames[:, 0, 0].tolist())
        self.entered.release()
        assert self.gate.wait(30)
        return frames[:, :1, 0].astype(float)

    async def is_running(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


@pytest.fixture
def network() -> Network:
    return Network()


def made(network: Any, **changes: Any) -> MicroBatcher:
    return MicroBatcher(network, **{"max_batch": 4, "queue": 64, "patience_ms": 60_000, **changes})


async def start(batcher: MicroBatcher, values: range) -> list[asyncio.Task[np.ndarray]]:
    tasks = [asyncio.create_task(batcher.submit(frame(value))) for value in values]
    await asyncio.sleep(0)
    return tasks


def test_an_idle_service_runs_a_film_alone_and_at_once(network: Network) -> None:
    batcher = made(network)
    assert asyncio.run(batcher.submit(frame(7))).tolist() == [7]
    assert network.batches == [[7]]
    assert batcher.inside == 0


def test_what_waits_shares_a_batch_in_its_order_and_everybody_gets_their_own_row(network: Network) -> None:
    async def scenario() -> list[float]:
        batcher = made(network)
        network.gate.clear()
        tasks = await start(batcher, range(1))
        await network.is_running()
        tasks += await start(batcher, range(1, 10))
        assert batcher.inside == 10
        network.gate.set()
        return [float((await task)[0]) for task in tasks]

    assert asyncio.run(scenario()) == list(range(10))
    assert network.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_full_queue_refuses_at_once_and_takes_films_again_when_it_has_room(network: Network) -> None:
    async def scenario() -> None:
        batcher = made(network, queue=3)
        network.gate.clear()
        tasks = await start(batcher, range(3))
        with pytest.raises(RequestError) as caught:
            await batcher.submit(frame(9))
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        with pytest.raises(RequestError):  # nor may those wait that have patience
            batcher.reserve(patient=True)
        network.gate.set()
        await asyncio.gather(*tasks)
        assert (await batcher.submit(frame(9))).tolist() == [9]

    asyncio.run(scenario())
    assert network.batches[-1] == [9]


def test_a_film_that_would_wait_longer_than_it_may_is_refused_and_the_first_never_is(network: Network) -> None:
    async def scenario() -> None:
        batcher = made(network, patience_ms=1000, film_seconds=0.4)
        with batcher.reserve(), batcher.reserve(), batcher.reserve():  # would wait 0, .4 and .8 seconds
            with pytest.raises(RequestError) as caught:
                batcher.reserve()  # 1.2
            assert caught.value.code == "overloaded"
            with batcher.reserve(patient=True):
                assert batcher.inside == 4
        slow = made(network, patience_ms=0, film_seconds=100.0)
        assert (await slow.submit(frame(5))).tolist() == [5]

    asyncio.run(scenario())


def test_films_in_decoding_count_as_waiting(network: Network) -> None:
    batcher = made(network, queue=2)
    with batcher.reserve(), batcher.reserve(), pytest.raises(RequestError):
        batcher.reserve()
    assert batcher.inside == 0
    assert network.batches == []


def test_the_expected_wait_follows_what_films_take(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("bentoml_service.batching.time.monotonic", lambda: now)

    def slow(frames: np.ndarray) -> np.ndarray:
        nonlocal now
        now += 0.5 * len(frames)
        return network(frames)

    batcher = made(slow, film_seconds=0.01)

    async def scenario() -> None:
        for _ in range(60):
            await batcher.submit(frame(1))

    asyncio.run(scenario())
    with batcher.reserve(), batcher.reserve():
        assert batcher.expected_wait == pytest.approx(1.0, rel=0.01)


def test_time_in_which_nobody_waited_makes_no_film_slow(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("bentoml_service.batching.time.monotonic", lambda: now)
    batcher = made(network, film_seconds=0.5)

    async def scenario() -> None:
        nonlocal now
        for _ in range(60):
            now += 1000
            await batcher.submit(frame(1))

    asyncio.run(scenario())
    with batcher.reserve():
        assert batcher.expected_wait < 0.01


def test_a_cancelled_request_leaves_the_queue_and_its_place(network: Network) -> None:
    async def scenario() -> None:
        batcher = made(network)
        network.gate.clear()
        running = await start(batcher, range(1))
        await network.is_running()
        waiting = await start(batcher, range(1, 4))
        waiting[1].cancel()
        await asyncio.gather(waiting[1], return_exceptions=True)
        assert batcher.inside == 3
        network.gate.set()
        await asyncio.gather(*running, waiting[0], waiting[2])
        assert batcher.inside == 0

    asyncio.run(scenario())
    assert network.batches == [[0], [1, 3]]


def test_a_request_that_is_cancelled_while_its_film_is_decoded_keeps_its_place_until_the_thread_is_free(
    network: Network,
) -> None:
    batcher = made(network, queue=1)
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with batcher.reserve() as place:
            work = pool.submit(release.wait, 30)
            place.hold(work)
        with pytest.raises(RequestError):
            batcher.reserve()
        release.set()
        assert work.result(30)
    with batcher.reserve():
        assert batcher.inside == 1


def test_a_failure_is_that_of_its_batch_only(network: Network) -> None:
    def breaks(frames: np.ndarray) -> np.ndarray:
        rows = network(frames)
        if (frames == 1).any():
            raise ValueError("broken")
        return rows

    async def scenario() -> list[Any]:
        batcher = made(breaks)
        network.gate.clear()
        tasks = await start(batcher, range(5, 6))
        await network.is_running()
        tasks += await start(batcher, range(6))
        network.gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert batcher.inside == 0
        assert (await batcher.submit(frame(8))).tolist() == [8]
        return found

    found = asyncio.run(scenario())
    assert network.batches == [[5], [0, 1, 2, 3], [4, 5], [8]]
    assert [type(one).__name__ for one in found] == ["ndarray", *["ValueError"] * 4, "ndarray", "ndarray"]


def test_closing_answers_what_waits_and_refuses_what_comes(network: Network) -> None:
    async def scenario() -> list[float]:
        batcher = made(network)
        network.gate.clear()
        tasks = await start(batcher, range(6))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as caught:
            await batcher.submit(frame(9))
        assert (caught.value.status, caught.value.code) == (503, "not_ready")
        network.gate.set()
        await closing
        assert all(task.done() for task in tasks)
        return [float((await task)[0]) for task in tasks]

    assert asyncio.run(scenario()) == list(range(6))


def test_a_queue_outlives_the_event_loop_that_used_it(network: Network) -> None:
    batcher = made(network)

    async def leaves_early() -> None:
        network.gate.clear()
        await start(batcher, range(2))
        await network.is_running()

    asyncio.run(leaves_early())  # its tasks are cancelled, as when a server is stopped at once
    network.gate.set()
    assert batcher.inside == 0
    assert asyncio.run(batcher.submit(frame(3))).tolist() == [3]


def test_many_clients_that_come_go_and_fail_leave_nothing_behind(network: Network) -> None:
    rng = np.random.default_rng(0)

    async def client(batcher: MicroBatcher, value: int) -> bool:
        await asyncio.sleep(float(rng.random()) / 100)
        task = asyncio.create_task(batcher.submit(frame(value)))
        if value % 5 == 0:
            await asyncio.sleep(0)
            task.cancel()
        try:
            return bool((await task)[0] == value)
        except (asyncio.CancelledError, RequestError):
            return True

    async def scenario() -> None:
        batcher = made(network, queue=20)
        assert all(await asyncio.gather(*(client(batcher, value) for value in range(250))))
        assert batcher.inside == 0

    asyncio.run(scenario())
    assert max(map(len, network.batches)) <= 4


def test_a_film_that_has_waited_longer_than_it_may_is_refused_before_it_is_run(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("bentoml_service.batching.time.monotonic", lambda: now)

    async def scenario() -> list[Any]:
        nonlocal now
        batcher = made(network, patience_ms=1000)
        network.gate.clear()
        tasks = await start(batcher, range(1))
        await network.is_running()
        tasks += await start(batcher, range(1, 3))
        with batcher.reserve(patient=True) as place:
            tasks.append(asyncio.create_task(batcher.submit(frame(3), place)))
            await asyncio.sleep(0)
            now = 1.5  # the machine turned slow after they came in
            network.gate.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, *refused, patient = asyncio.run(scenario())
    assert first.tolist() == [0]
    assert [one.code for one in refused] == ["overloaded"] * 2
    assert patient.tolist() == [3]
    assert network.batches == [[0], [3]]


def test_waits_before_decoding_and_in_the_queue_add_up_and_decoding_itself_is_no_wait(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("bentoml_service.batching.time.monotonic", lambda: now)
    batcher = made(network, patience_ms=1000)
    with batcher.reserve(), batcher.reserve() as place:
        now = 0.6
        place.wait_ended()
        now = 9.0  # decoded a huge film
        place.wait_ended(8.7)
        with pytest.raises(RequestError):
            place.wait_ended(8.8)


def test_a_batch_takes_no_longer_than_its_share_of_the_patience(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("bentoml_service.batching.time.monotonic", lambda: now)

    async def scenario() -> None:
        batcher = made(network, max_batch=16, patience_ms=800, film_seconds=0.04)  # 100 ms a batch: 2 films
        network.gate.clear()
        tasks = await start(batcher, range(1))
        await network.is_running()
        tasks += await start(batcher, range(1, 8))
        network.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert [len(batch) for batch in network.batches][:2] == [1, 2]
    assert max(map(len, network.batches)) < 8
