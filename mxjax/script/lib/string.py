"""`string`: sets of characters and templates."""

ascii_lowercase = "abcdefghijklmnopqrstuvwxyz"
ascii_uppercase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ascii_letters = ascii_lowercase + ascii_uppercase
digits = "0123456789"
hexdigits = digits + "abcdefABCDEF"
octdigits = "01234567"
punctuation = r"""!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"""
whitespace = " \t\n\r\v\f"
printable = digits + ascii_letters + punctuation + whitespace

_NAME = digits + ascii_letters + "_"


def capwords(s, sep=None):
    return (sep or " ").join(map(str.capitalize, s.split(sep)))


class Template:
    def __init__(self, template):
        self.template = template

    def _filled(self, values, safe):
        texts = iter(self.template.split("$"))
        out = [next(texts)]
        for text in texts:
            braced = text[:1] == "{"
            inner = text[1:] if braced else text
            after = inner.lstrip(_NAME)
            name = inner[: len(inner) - len(after)]
            if name and name[0] not in digits and (not braced or after[:1] == "}"):
                if safe and name not in values:
                    out += ("$", text)
                else:
                    out += (str(values[name]), after[1:] if braced else after)
            elif not text and (following := next(texts, None)) is not None:
                out += ("$", following)
            elif safe:
                out += ("$", text)
            else:
                raise ValueError("Invalid placeholder in string")
        return "".join(out)

    def substitute(self, mapping=(), /, **kwds):
        return self._filled({**dict(mapping), **kwds} if kwds else mapping, False)

    def safe_substitute(self, mapping=(), /, **kwds):
        return self._filled({**dict(mapping), **kwds} if kwds else mapping, True)
