"""The page `/docs`: the description as plain HTML, which asks no other host and runs no script."""

#: A Jinja template over the OpenAPI document `api`.
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ api.info.title }} {{ api.info.version }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }
  code { font-family: ui-monospace, monospace }
  h2 { font-size: 1rem; margin: 2.5rem 0 0; border-top: 1px solid #ccc; padding-top: 1rem }
  table { border-collapse: collapse; margin: .5rem 0 }
  td, th { text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top }
</style>
{%- macro kind(schema) -%}
  {%- if schema['$ref'] -%}
    {%- set name = schema['$ref'].split('/')[-1] -%}<a href="#{{ name }}">{{ name }}</a>
  {%- elif schema.anyOf or schema.oneOf -%}
    {%- for one in schema.anyOf or schema.oneOf -%}
      {{ kind(one) }}{{ ' or ' if not loop.last }}
    {%- endfor -%}
  {%- elif schema.allOf -%}{{ kind(schema.allOf[0]) }}
  {%- elif 'const' in schema -%}{{ schema.const | tojson }}
  {%- elif schema.enum -%}{{ schema.enum | map('tojson') | join(', ') }}
  {%- elif schema.type == 'array' -%}list of {{ kind(schema['items'] or {}) }}
  {%- elif schema.type is string -%}{{ schema.type }}
  {%- else -%}{{ (schema.type or ['any']) | join(' or ') }}
  {%- endif -%}
{%- endmacro %}
{%- set rate = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset'] -%}
{%- set quiet = rate + ['X-Content-Type-Options', 'Cache-Control'] -%}
<h1>{{ api.info.title }} {{ api.info.version }}</h1>
<p>{{ api.info.summary }} As a file: <a href="/openapi.json"><code>/openapi.json</code></a>.
Every answer to who shows a key has {{ rate | join(', ') }}.</p>
{% for path, methods in api.paths.items() %}{% for method, operation in methods.items() %}
<h2 id="{{ operation.operationId }}"><code>{{ method | upper }} {{ path }}</code></h2>
<p>{{ operation.summary }}</p>
{% if operation.parameters %}<table>
{% for it in operation.parameters %}
<tr><td><code>{{ it.name }}</code><td>{{ it['in'] }}
<td>{{ kind(it.schema) }}<td>{{ it.description }}
{% endfor %}</table>{% endif %}
{% if operation.requestBody %}
{% for media, content in operation.requestBody.content.items() %}
<p>Body: {{ media }}, {{ kind(content.schema) }}</p>{% endfor %}{% endif %}
<table>
{% for status, answer in operation.responses.items() %}
<tr><td>{{ status }}<td>{{ answer.description }}
<td>{{ (answer.headers or {}) | reject('in', quiet) | join(', ') }}
<td>{% for media, content in (answer.content or {}).items() %}
{{ media }}: {{ kind(content.schema) }}
{% endfor %}{% endfor %}</table>
{% endfor %}{% endfor %}
<h1>Schemas</h1>
{% for name, schema in api.components.schemas.items() %}
<h2 id="{{ name }}"><code>{{ name }}</code></h2>
<p>{{ schema.description }}</p>
{% if schema.properties %}<table>
{% for field, it in schema.properties.items() %}
<tr><td><code>{{ field }}</code><td>{{ 'required' if field in (schema.required or []) }}
<td>{{ kind(it) }}<td>{{ it.description }}
{% endfor %}</table>{% else %}<p>{{ kind(schema) }}</p>{% endif %}
{% endfor %}
</html>
"""
