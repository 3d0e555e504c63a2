"""`pprint`: containers over several lines where one would be too wide."""

from collections import OrderedDict


def pformat(object, indent=1, width=80, depth=None, *, compact=False, sort_dicts=True, underscore_numbers=False):
    return PrettyPrinter(indent, width, depth, compact=compact, sort_dicts=sort_dicts).pformat(object)


def pprint(object, stream=None, indent=1, width=80, depth=None, *, compact=False, sort_dicts=True, **options):
    print(pformat(object, indent, width, depth, compact=compact, sort_dicts=sort_dicts), file=stream)


def pp(object, *args, sort_dicts=False, **kwargs):
    pprint(object, *args, sort_dicts=sort_dicts, **kwargs)


def saferepr(object):
    return PrettyPrinter().line(object, 1)


class PrettyPrinter:
    def __init__(self, indent=1, width=80, depth=None, stream=None, *, compact=False, sort_dicts=True, **options):
        self._indent, self._width, self._depth = indent, width, depth
        self._compact, self._sorted, self._stream = compact, sort_dicts, stream

    def pprint(self, object):
        print(self.pformat(object), file=self._stream)

    def pformat(self, object):
        return self._shown(object, 0, 0, 1)

    def line(self, value, level):
        """The value in one line."""
        if isinstance(value, dict) and type(value) in (dict, OrderedDict) and value:
            if self._depth is not None and level > self._depth:
                return "{...}"
            pairs = [f"{self.line(key, level + 1)}: {self.line(item, level + 1)}" for key, item in self._items(value)]
            return "{" + ", ".join(pairs) + "}"
        if type(value) in (list, tuple) and value:
            start, end = "[]" if type(value) is list else "()"
            if self._depth is not None and level > self._depth:
                return f"{start}...{end}"
            inner = ", ".join([self.line(item, level + 1) for item in value])
            return start + inner + ("," if type(value) is tuple and len(value) == 1 else "") + end
        return repr(value)

    def _items(self, value):
        items = list(value.items())
        if not self._sorted:
            return items
        try:
            return sorted(items, key=lambda pair: pair[0])
        except TypeError:
            return sorted(items, key=lambda pair: (str(type(pair[0])), str(pair[0])))

    def _shown(self, value, indent, allowance, level):
        """The value as it stands after `indent` columns, with room for `allowance` behind it."""
        short = self.line(value, level)
        if len(short) <= self._width - indent - allowance or (self._depth is not None and level > self._depth):
            return short
        if type(value) in (dict, OrderedDict) and value:
            return "{" + " " * (self._indent - 1) + self._dict(value, indent, allowance + 1, level) + "}"
        if type(value) is list and value:
            return "[" + self._sequence(value, indent, allowance + 1, level) + "]"
        if type(value) is tuple and value:
            end = ",)" if len(value) == 1 else ")"
            return "(" + self._sequence(value, indent, allowance + len(end), level) + end
        if type(value) in (set, frozenset) and value:
            start, end = ("{", "}") if type(value) is set else ("frozenset({", "})")
            extra = len(start) - 1
            return start + self._sequence(sorted(value), indent + extra, allowance + len(end), level) + end
        if type(value) is str and value:
            return self._string(value, indent, allowance, level)
        return short

    def _dict(self, value, indent, allowance, level):
        indent += self._indent
        items = self._items(value)
        parts = []
        for at, (key, item) in enumerate(items):
            name = self.line(key, level + 1)
            last = at == len(items) - 1
            shown = self._shown(item, indent + len(name) + 2, allowance if last else 1, level + 1)
            parts.append(f"{name}: {shown}")
        return (",\n" + " " * indent).join(parts)

    def _sequence(self, items, indent, allowance, level):
        indent += self._indent
        items = list(items)
        between = ",\n" + " " * indent
        out = " " * (self._indent - 1)
        if not self._compact:
            shown = [
                self._shown(item, indent, allowance if at == len(items) - 1 else 1, level + 1)
                for at, item in enumerate(items)
            ]
            return out + between.join(shown)
        room = most = self._width - indent + 1
        first = True
        for at, item in enumerate(items):
            last = at == len(items) - 1
            if last:
                most -= allowance
                room -= allowance
            short = self.line(item, level + 1)
            width = len(short) + 2
            if room < width:
                room = most
                if not first:
                    out += between
                    first = True
            if room >= width:
                room -= width
                out += ("" if first else ", ") + short
                first = False
                continue
            out += ("" if first else between) + self._shown(item, indent, allowance if last else 1, level + 1)
            first = False
        return out

    def _string(self, value, indent, allowance, level):
        chunks = []
        lines = value.splitlines(True)
        brackets = level == 1
        if brackets:
            indent += 1
            allowance += 1
        most = width = self._width - indent
        for at, line in enumerate(lines):
            last_line = at == len(lines) - 1
            if last_line:
                width -= allowance
            if len(repr(line)) <= width:
                chunks.append(repr(line))
                continue
            parts = _words(line)
            current = ""
            for which, part in enumerate(parts):
                candidate = current + part
                here = most - allowance if which == len(parts) - 1 and last_line else most
                if len(repr(candidate)) > here:
                    if current:
                        chunks.append(repr(current))
                    current = part
                else:
                    current = candidate
            if current:
                chunks.append(repr(current))
        if len(chunks) == 1:
            return chunks[0]
        text = ("\n" + " " * indent).join(chunks)
        return f"({text})" if brackets else text


def _words(line):
    """The words of a line, each with the space behind it."""
    parts, word, spaced = [], "", False
    for char in line:
        if spaced and not char.isspace():
            parts.append(word)
            word = ""
        spaced = char.isspace()
        word += char
    return [*parts, word] if word else parts
