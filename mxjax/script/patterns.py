"""Compile `match` statements into tests and jumps."""

from __future__ import annotations

import ast

from mxjax.script import comparison, control, instructions, matching
from mxjax.script.expressions import Expressions
from mxjax.script.unit import Label, refuse


class Patterns(Expressions):
    """The part of the compiler for `match`.

    The subject stays on the stack until a case is taken.
    """

    def stmt_Match(self, node):
        unit, end = self.unit, Label()
        self.expr(node.subject)
        for case in node.cases:
            fail, other = Label(), Label()
            unit.line = case.pattern.lineno
            unit.emit(instructions.dup)
            self.pattern(case.pattern, fail)
            if case.guard is not None:
                self.branch(case.guard, other, False)
            unit.emit(instructions.pop)
            self.body(case.body)
            unit.emit(control.jump, end)
            unit.place(fail)
            unit.place(other)
        unit.emit(instructions.pop)
        unit.place(end)

    def pattern(self, node, fail: Label):
        """Test the top of the stack; jump to `fail` on a mismatch.

        The value is consumed either way.
        """
        method = getattr(self, f"pattern_{type(node).__name__}", None)
        if method is None:
            raise refuse(node, f"{type(node).__name__} is not part of the script language")
        method(node, fail)

    def pattern_MatchValue(self, node, fail):
        self.expr(node.value)
        self.unit.emit(instructions.binary, comparison.equals)
        self.unit.emit(control.jump_if_false, fail)

    def pattern_MatchSingleton(self, node, fail):
        self.unit.emit(instructions.load_const, node.value)
        self.unit.emit(instructions.is_, False)
        self.unit.emit(control.jump_if_false, fail)

    def pattern_MatchAs(self, node, fail):
        unit = self.unit
        if node.pattern is not None:
            if node.name is None:
                self.pattern(node.pattern, fail)
                return
            drop, done = Label(), Label()
            unit.emit(instructions.dup)
            self.pattern(node.pattern, drop)
            unit.store(node.name)
            unit.emit(control.jump, done)
            unit.place(drop)
            unit.emit(instructions.pop)
            unit.emit(control.jump, fail)
            unit.place(done)
        elif node.name is None:
            unit.emit(instructions.pop)
        else:
            unit.store(node.name)

    def pattern_MatchOr(self, node, fail):
        unit, matched = self.unit, Label()
        for alternative in node.patterns:
            other = Label()
            unit.emit(instructions.dup)
            self.pattern(alternative, other)
            unit.emit(control.jump, matched)
            unit.place(other)
        unit.emit(instructions.pop)
        unit.emit(control.jump, fail)
        unit.place(matched)
        unit.emit(instructions.pop)

    def pattern_MatchSequence(self, node, fail):
        starred = [i for i, item in enumerate(node.patterns) if isinstance(item, ast.MatchStar)]
        before = starred[0] if starred else len(node.patterns)
        after = len(node.patterns) - before - len(starred)
        self.unit.emit(matching.match_sequence, (before, bool(starred), after))
        self.unit.emit(matching.jump_if_unmatched, fail)
        self.each([item.name if isinstance(item, ast.MatchStar) else item for item in node.patterns], fail)

    def pattern_MatchMapping(self, node, fail):
        seen: set = set()
        for key in node.keys:
            if isinstance(key, ast.Constant):
                if key.value in seen:
                    raise refuse(node, f"mapping pattern checks duplicate key ({key.value!r})", "syntax")
                seen.add(key.value)
        self.exprs(node.keys)
        self.unit.emit(matching.match_mapping, (len(node.keys), node.rest is not None))
        self.unit.emit(matching.jump_if_unmatched, fail)
        self.each([*node.patterns, *([node.rest] if node.rest else [])], fail)

    def pattern_MatchClass(self, node, fail):
        self.expr(node.cls)
        self.unit.emit(matching.match_class, (len(node.patterns), tuple(node.kwd_attrs)))
        self.unit.emit(matching.jump_if_unmatched, fail)
        self.each([*node.patterns, *node.kwd_patterns], fail)

    def each(self, patterns, fail):
        """Test the values on the stack against one pattern each.

        The first value is on top; what is left is dropped on a mismatch.
        """
        unit, done = self.unit, Label()
        labels = [Label() for _ in patterns]
        for pattern, label in zip(patterns, labels):
            if isinstance(pattern, str):
                unit.store(pattern)
            elif pattern is None:
                unit.emit(instructions.pop)
            else:
                self.pattern(pattern, label)
        unit.emit(control.jump, done)
        for index, label in enumerate(labels):
            unit.place(label)
            if index < len(labels) - 1:
                unit.emit(instructions.pop)
        unit.emit(control.jump, fail)
        unit.place(done)
