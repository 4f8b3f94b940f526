"""Token buckets: so many at once, so many a second, each for its owner."""

from caas.rules.rate_limits import OWNERS_MAX, RateLimit, TokenBuckets, owner_of


def test_a_bucket_grants_its_burst_and_then_as_many_as_it_gains() -> None:
    buckets = TokenBuckets(RateLimit(2, 4))

    at_once = [buckets.take("a", now=0.0).granted for _ in range(6)]
    a_second_later = [buckets.take("a", now=1.0).granted for _ in range(3)]

    assert at_once == [True] * 4 + [False] * 2
    assert a_second_later == [True, True, False]


def test_who_is_refused_learns_how_long_to_wait() -> None:
    buckets = TokenBuckets(RateLimit(0.25, 1))
    buckets.take("a", now=0.0)

    refused = buckets.take("a", now=1.0)

    assert (refused.granted, refused.remaining, refused.wait_seconds) == (False, 0, 3)
    assert buckets.take("a", now=1.0 + refused.wait_seconds).granted


def test_a_bucket_is_its_owners_alone() -> None:
    buckets = TokenBuckets(RateLimit(1, 1))

    assert buckets.take("a", now=0.0).granted
    assert buckets.take("b", now=0.0).granted
    assert not buckets.take("a", now=0.0).granted


def test_a_token_that_is_given_back_can_be_taken_again_and_no_bucket_overflows() -> None:
    buckets = TokenBuckets(RateLimit(1, 1))
    buckets.take("a", now=0.0)

    buckets.give_back("a", now=0.0)
    buckets.give_back("a", now=0.0)

    assert buckets.take("a", now=0.0).granted
    assert not buckets.take("a", now=0.0).granted


def test_looking_takes_nothing() -> None:
    buckets = TokenBuckets(RateLimit(1, 1))

    assert [buckets.look("a", now=0.0).granted for _ in range(3)] == [True] * 3


def test_as_many_buckets_are_held_as_there_may_be() -> None:
    buckets = TokenBuckets(RateLimit(1, 2))
    buckets.take("oldest", now=0.0)

    for number in range(OWNERS_MAX):
        buckets.take(str(number), now=0.0)

    assert buckets.take("oldest", now=0.0).remaining == 1
    assert buckets.take(str(OWNERS_MAX - 1), now=0.0).remaining == 0


def test_addresses_of_one_network_are_one_owner() -> None:
    assert owner_of("2001:db8:0:1::1") == owner_of("2001:db8:0:1:ffff::2")
    assert owner_of("2001:db8:0:1::1") != owner_of("2001:db8:0:2::1")
    assert owner_of("::ffff:192.0.2.1") == owner_of("192.0.2.1")
    assert owner_of("192.0.2.1") != owner_of("192.0.2.2")
    assert owner_of("not an address") == "not an address"
