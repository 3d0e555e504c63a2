"""`ast`: `literal_eval` alone; designs do not read programs."""

import re

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:0[xXoObB][0-9a-fA-F_]+|(?:\d[\d_]*)?\.?\d[\d_]*\.?(?:[eE][+-]?\d+)?)j?)"""
    r"""|(?P<text>[rRuU]?(?:'''(?:[^\\]|\\[\s\S])*?'''|\"\"\"(?:[^\\]|\\[\s\S])*?\"\"\"|'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"))"""
    r"""|(?P<name>[A-Za-z_]\w*)|(?P<mark>[][(){},:+-]))"""
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|[\s\S])")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\x07", "b": "\x08", "f": "\x0c", "v": "\x0b", "\n": ""}
_NAMES = {"True": True, "False": False, "None": None}


def literal_eval(node_or_string):
    """The value of a literal: a number, text, None, a bool, or a tuple, list, set or dict of such."""
    if not isinstance(node_or_string, str):
        raise ValueError(f"malformed node or string: {node_or_string!r}")
    reader = _Reader(node_or_string.strip(" \t"))
    value = reader.whole()
    if reader.kind != "end":
        raise SyntaxError("invalid syntax")
    return value


class _Reader:
    def __init__(self, text):
        self.text, self.at = text, 0
        self.step()

    def step(self):
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            if self.text[self.at :].strip():
                raise SyntaxError("invalid syntax")
            self.kind, self.token = "end", ""
            return
        self.at, self.kind, self.token = found.end(), found.lastgroup, found[found.lastgroup]

    def whole(self):
        value = self.value()
        if self.token == ",":
            return tuple(self.items([value], ""))
        return value

    def items(self, items, end):
        while self.token == ",":
            self.step()
            if self.token == end:
                break
            items.append(self.value())
        return items

    def close(self, mark):
        if self.token != mark:
            raise SyntaxError("invalid syntax" if self.token else "unexpected EOF while parsing")
        self.step()

    def value(self):
        kind, token = self.kind, self.token
        self.step()
        if kind == "number":
            return _number(token)
        if kind == "text":
            value = _text(token)
            while self.kind == "text":
                value += _text(self.token)
                self.step()
            return value
        if kind == "name" and token in _NAMES:
            return _NAMES[token]
        if kind == "name" and token == "set" and self.token == "(":
            self.step()
            self.close(")")
            return set()
        if token in ("+", "-") and self.kind in ("number", "mark"):
            value = self.value()
            if type(value) not in (int, float):
                raise ValueError(f"malformed node or string: {self.text[:80]!r}")
            return -value if token == "-" else value
        if token == "[":
            return self.sequence("]")[0]
        if token == "(":
            items, comma = self.sequence(")")
            return items[0] if len(items) == 1 and not comma else tuple(items)
        if token == "{":
            return self.braces()
        if kind == "name":
            raise ValueError(f"malformed node or string: {self.text[:80]!r}")
        raise SyntaxError("invalid syntax")

    def sequence(self, end):
        items, comma = [], False
        if self.token != end:
            items.append(self.value())
            comma = self.token == ","
            self.items(items, end)
        self.close(end)
        return items, comma

    def braces(self):
        if self.token == "}":
            self.step()
            return {}
        first = self.value()
        if self.token != ":":
            items = set(self.items([first], "}"))
            self.close("}")
            return items
        self.step()
        made = {first: self.value()}
        while self.token == ",":
            self.step()
            if self.token == "}":
                break
            key = self.value()
            self.close(":")
            made[key] = self.value()
        self.close("}")
        return made


def _number(token):
    if token[-1] == "j":
        raise ValueError("complex numbers are not part of the script language")
    if token[:2].lower() in ("0x", "0o", "0b"):
        return int(token, {"x": 16, "o": 8, "b": 2}[token[1].lower()])
    if "." in token or "e" in token.lower():
        return float(token)
    if token[0] == "0" and token.strip("0_"):
        raise SyntaxError("leading zeros in decimal integer literals are not permitted")
    return int(token)


def _text(token):
    raw = token[0] in "rR"
    token = token.lstrip("rRuU")
    quotes = 3 if token[:3] in ("'''", '"""') and len(token) > 5 else 1
    inner = token[quotes:-quotes]
    return inner if raw or "\\" not in inner else _ESCAPE.sub(_escaped, inner)


def _escaped(found):
    code = found[1]
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return _ESCAPES.get(code, code if code in "\\'\"" else "\\" + code)
