"""The double-underscore names that a script may use.

All others would reach past the language.
"""

_DUNDERS = """
    abs add aenter aexit aiter all and anext author await bool call cause ceil class class_getitem contains context copy
    deepcopy delattr delete delitem dict divmod doc enter eq exit file float floor floordiv format ge get getattr
    getitem gt hash iadd iand ifloordiv ilshift imatmul imod imul index init init_subclass int invert ior ipow
    irshift isub iter itruediv ixor le len lshift lt main match_args matmul members missing mod module mul name ne
    neg new next notes or pos post_init pow qualname radd rand rdivmod repr reversed rfloordiv rlshift rmatmul rmod
    rmul ror round rpow rrshift rshift rsub rtruediv rxor set set_name setattr setitem slots str sub
    suppress_context traceback truediv trunc version wrapped xor
"""
ALLOWED_DUNDERS = frozenset(f"__{name}__" for name in _DUNDERS.split())
# Those that a script may also compute (`getattr`, `hasattr`): methods and labels, never a way from one object to others
COMPUTED_DUNDERS = ALLOWED_DUNDERS - {
    f"__{name}__" for name in ("class", "dict", "new", "init_subclass", "members", "wrapped", "cause", "context")
}
