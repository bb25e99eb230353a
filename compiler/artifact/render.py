"""Fill in a template of this package."""

from __future__ import annotations

import jinja2

from compiler.artifact.names import c_string


def render(template: str, **values: object) -> str:
    """Return the text of ``templates/<template>`` with `values`; an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compiler.artifact"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["c_string"] = c_string
    return environment.get_template(template).render(**values)
