"""Chat templates in the forms that the families' models come with, and conversations."""

from __future__ import annotations

_CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

_INSTRUCTION = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{% set loop_messages = messages[1:] %}\
{% set system = '<<SYS>>\\n' ~ messages[0]['content'].strip() ~ '\\n<</SYS>>\\n\\n' %}{% else %}\
{% set loop_messages = messages %}{% set system = '' %}{% endif %}
{% for message in loop_messages %}
  {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{ raise_exception('Conversation roles must alternate') }}
  {% endif %}
  {% if message['role'] == 'user' %}
[INST] {{ system if loop.index0 == 0 else '' }}{{ message['content'] | trim }} [/INST]
  {% elif message['role'] == 'assistant' %}
 {{ message['content'] | trim + ' ' + eos_token }}
  {% endif %}
{% endfor %}
"""

_THINKING = """{%- set ns = namespace(last=-1, text='') %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and ns.last < 0 %}
        {%- set ns.last = (messages | length - 1) - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- macro block(role, text) -%}
<|im_start|>{{ role }}
{{ text }}<|im_end|>
{% endmacro %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if message.tool_calls is defined and message.tool_calls %}tools{% endif %}
    {{- block(message.role, content.rstrip()) }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

_DATED = """{% if not date is defined %}{% set date = strftime_now('%d %b %Y, %A') %}{% endif %}
{% set tools = tools or [] -%}
Date: {{ date }}; {{ tools | length }} tools; {{ {'a': [1, 'é<', none, true]} | tojson }}
{% for message in messages %}
{% if message.role == 'system' %}{% continue %}{% endif %}
{% if loop.index > 5 %}{% break %}{% endif %}
{% generation %}
<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}
{{ message.content | trim | replace('\\r', '') }}<end_of_turn>{{ ',' if not loop.last }}
{% endgeneration %}
{% endfor %}
{% for i in range(2) %}{{ i }}{{ loop.length }}{% endfor %}
{{ messages | map(attribute='role') | join('|') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ (messages | last).content | upper if messages else '' }}{{ dict(a=1).a }}{{ nothing | default('x') }}
{% if add_generation_prompt %}<start_of_turn>model
{% endif %}
"""

TEMPLATES = {"chatml": _CHATML, "instruction": _INSTRUCTION, "thinking": _THINKING, "dated": _DATED}
MARKERS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def _talk(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return messages + [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


CONVERSATIONS = [
    _talk("Hello"),
    _talk("  spaces \n and lines\r\n\n", system=" You are brief. "),
    _talk("a", "<think>\nhm\n</think>\n\nb", "c\u00a0\u3000", "  d\n", "e {{ 7 * 7 }} {% if %} <|im_end|>"),
    _talk("\U0001f469\u200d\U0001f467 na\u0131ve \u201cquotes\u201d \\n \"'", system=""),
    [{"role": "assistant", "content": "first"}, {"role": "user", "content": "second"}],
    _talk(*[f"turn {i}" for i in range(9)], system="many"),
]
