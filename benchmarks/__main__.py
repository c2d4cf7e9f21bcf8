"""`python -m benchmarks [NAME …]`: all but the soak, or those named."""

import sys

from benchmarks import accept, price, road, soak, webhooks

ALL = {
    "road": road.main,
    "price": price.main,
    "accept": accept.main,
    "webhooks": webhooks.main,
    "soak": soak.main,
}


def main() -> None:
    names = sys.argv[1:] or ["road", "price", "accept", "webhooks"]
    for name in names:
        if name not in ALL:
            sys.exit(f"no benchmark {name!r}; there are {', '.join(ALL)}")
        print(
            f"\n== {name}: {(sys.modules[ALL[name].__module__].__doc__ or '').splitlines()[0]}",
            flush=True,
        )
        ALL[name]()


main()
