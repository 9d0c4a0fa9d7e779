"""What the real-programs group runs in python3 (with PYTHONMALLOC=malloc): records, text, JSON, sorting; argument: how much."""
import json
import random
import sys


class Order:
    def __init__(self, number, customer, lines):
        self.number = number
        self.customer = customer
        self.lines = lines

    def total(self):
        return sum(price * count for _, price, count in self.lines)


def main():
    turns = int(sys.argv[1])
    draw = random.Random(1)
    seen = {}
    for turn in range(turns):
        orders = [Order(n, "customer-%d" % draw.randrange(500), [("item-%d" % draw.randrange(900), draw.random(), draw.randrange(9))
                                                                for _ in range(draw.randrange(1, 8))]) for n in range(1500)]
        text = json.dumps([{"n": o.number, "c": o.customer, "l": o.lines, "t": o.total()} for o in orders])
        for record in json.loads(text):
            seen.setdefault(record["c"], []).append(" ".join(name.upper() for name, _, _ in record["l"]))
        words = {}
        for lines in seen.values():
            for word in ",".join(lines).replace(",", " ").split():
                words[word] = words.get(word, 0) + 1
        ranking = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
        if turn % 4 == 3:
            seen.clear()
        assert ranking
    print(len(ranking))


main()
