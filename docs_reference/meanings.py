"""What the code says of its names: attributes in docstrings, members of enumerations in the comments beside them."""

import inspect
import re
from enum import Enum

from docstring_parser import parse

from docs_reference.markdown import prose

_MEMBER = re.compile(r'^    [A-Z_]+ = "([^"]+)"(?:\s*# (.*))?$', re.MULTILINE)
_FOR_TOOLS = re.compile(r"(?:# )?noqa.*")


def attributes(owner: type) -> dict[str, str]:
    """Each attribute that the class's docstring describes."""
    described = parse(inspect.getdoc(owner) or "").params
    return {each.arg_name: prose(each.description or "") for each in described}


def members(enumeration: type[Enum]) -> dict[str, str]:
    """Each value, and the comment beside it."""
    found = _MEMBER.findall(inspect.getsource(enumeration))
    return {value: _FOR_TOOLS.sub("", comment).strip() for value, comment in found}
