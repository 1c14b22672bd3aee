"""Events are forgotten an hour after they were last written, and nothing else is."""

from quartermaster.testing.kubernetes import kubernetes


async def test_an_event_is_gone_after_an_hour_and_one_that_was_counted_up_is_not() -> None:
    async with kubernetes() as api:

        async def tell(name: str) -> None:
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            await api.create("events", {"metadata": {"name": name}, "involvedObject": about})

        await tell("first")
        await tell("counted")
        await api.create("configmaps", {"metadata": {"name": "c"}})
        api.clock.now += 1800
        await api.patch("events/counted", {"count": 2})
        since = (await api.get("events"))["metadata"]["resourceVersion"]
        api.clock.now += 1801
        await tell("new")
        assert await api.names("events") == ["counted", "new"]
        assert "c" in await api.names("configmaps")
        watch = api.watch(f"events?watch=1&resourceVersion={since}")
        gone = await anext(watch)
        assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "first")
        await watch.aclose()
        api.clock.now += 1800
        await tell("last")
        assert await api.names("events") == ["last", "new"]
