"""Prints how many blocks of code the documents have, and what becomes of them."""

import sys
from collections import Counter

from tests.docs.blocks import documents, read

blocks = [block for path in documents() for block in read(path)]
ends = Counter(
    block.left_out or ("parsed" if "parsed" in block.marks else "run") for block in blocks
)
sys.stdout.write(f"{len(documents())} documents, {len(blocks)} blocks\n")
for end, count in ends.most_common():
    sys.stdout.write(f"{count:5} {end}\n")
