"""The number of followers, and the pauses between their reads."""

import pytest

from api.traffic.followers import Followers
from sluice.errors import Overloaded


def test_followers_are_counted_up_to_their_bound() -> None:
    followers = Followers(2)
    with followers.one_more():
        followers.check_room()
        with followers.one_more():
            assert followers.count == 2
            with pytest.raises(Overloaded):
                followers.check_room()
        followers.check_room()
    assert followers.count == 0


def test_few_followers_read_often_and_many_share_a_number_of_reads() -> None:
    followers = Followers(10_000)
    assert 1.6 <= followers.pause_s(2.0) <= 2.4
    followers.count = 2000
    pauses = [followers.pause_s(2.0) for _ in range(1000)]
    assert 150 <= sum(2000 / 1000 / pause for pause in pauses) <= 250, "reads in a second"
    assert len(set(pauses)) > 900, "they do not read all at once"
    assert followers.pause_s(2.0, reads=2) >= 16
