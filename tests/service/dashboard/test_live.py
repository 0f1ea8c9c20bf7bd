"""Parts that follow the ledger: nothing is sent while nothing changes, and what has ended is asked for no more."""

from __future__ import annotations

import json
import re

from support.pages import Page
from support.site import Site

from ledger.log.sequencer import sequence


def asked_again(page: str) -> tuple[str, dict[str, str], bool]:
    """Return the address of a page's part, the headers that a browser sends with it, and whether it goes on asking."""
    found = re.search(r"""id="live" hx-get="([^"]+)".*hx-headers='([^']+)'.*5xx="swap:none"( data-follow)?>""", page)
    assert found is not None
    return found[1].replace("&amp;", "&"), json.loads(found[2]), found[3] is not None


def test_a_part_is_sent_again_only_when_something_changed(site: Site) -> None:
    for page in ("/dashboard", "/dashboard/requests?state=accepted&order=due"):
        address, headers, follows = asked_again(site.client.get(page).text)
        assert follows
        same = site.client.get(address, headers=headers)
        assert (same.status_code, same.content) == (304, b"")
        request_id = site.world.forget("somebody")
        changed = site.client.get(address, headers=headers)
        assert changed.status_code == 200
        assert any(text.startswith(request_id[:8]) for text in Page(changed.text).text("request"))
        assert asked_again(changed.text)[1] == {"If-None-Match": changed.headers["etag"]}
        assert asked_again(changed.text)[1] != headers
        assert "script" not in Page(changed.text).tags


def test_a_request_is_followed_until_everything_of_it_stands_in_the_log(site: Site) -> None:
    request_id = site.world.forget("somebody")
    address, _, follows = asked_again(site.client.get(f"/dashboard/requests/{request_id}").text)
    assert follows
    site.world.work()
    assert asked_again(site.client.get(address).text)[2]
    sequence(site.world.ledger.database, site.world.ledger.ring)
    text = site.client.get(address).text
    assert not asked_again(text)[2]
    assert 'data-say="Request completed, no match"' in text


def test_a_long_list_does_not_follow(site: Site) -> None:
    assert not asked_again(site.client.get("/dashboard/requests?limit=1000").text)[2]


def test_without_scripts_a_page_loads_itself_again_while_something_is_done(site: Site) -> None:
    again = '<noscript><meta http-equiv="refresh"'
    site.world.work()
    assert again not in site.client.get("/dashboard").text
    request_id = site.world.forget("somebody")
    for path in ("/dashboard", f"/dashboard/requests/{request_id}"):
        assert again in site.client.get(path).text
