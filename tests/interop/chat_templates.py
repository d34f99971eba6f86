# SPDX-FileCopyrightText: cwpd developers
# SPDX-License-Identifier: Apache-2.0
"""Templates in our own words that do what the families' published ones do with system, user and assistant messages, for
test_chat_formats.py: they spell the marks that the formats of conf/chat go by as the published ones do."""

ALTERNATE = """
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}
{%- endfor %}"""

SPLIT = """
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}"""

CHATML = """
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

DEFAULT = """
{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nTEXT<|im_end|>\\n' }}{%- endif %}"""

CHATML_TOOLS = """
{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}{# <tool_response></tool_response> are not for these roles #}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

QWEN3 = """
{%- set found = namespace(last_query_index=messages|length - 1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{%- set found.last_query_index = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- set reasoning_content = '' %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > found.last_query_index and (loop.last or reasoning_content) %}
            {{- '<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
            {%- set content = content.lstrip('\\n') %}
        {%- endif %}
    {%- endif %}
    {{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

LLAMA2 = SPLIT + ALTERNATE + """
{%- for message in rest %}
    {%- set content = message['content'] %}
    {%- if loop.first and system_message is defined %}
        {%- set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + content %}
    {%- endif %}
    {%- if message['role'] == 'user' %}{{- bos_token + '[INST] ' + TRIMMED + ' [/INST]' }}
    {%- else %}{{- ' ' + TRIMMED + ' ' + eos_token }}{%- endif %}
{%- endfor %}"""

LLAMA3 = """
{%- for message in messages %}
    {%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}
    {{- bos_token + content if loop.first else content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

LLAMA31 = """{{- bos_token }}DATE
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Cutting Knowledge Date: December 2023\\n' + 'Today Date: ' + date_string + '\\n\\n' + system_message + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

FIXED_DATE = """{%- set date_string = "26 Jul 2024" %}"""
DATE_OF_DAY = """
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}"""

GEMMA = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{%- set rest = messages %}""" + ALTERNATE + """
{%- for message in messages %}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""

MISTRAL_V1 = SPLIT + ALTERNATE + """
{{- bos_token }}
{%- for message in rest %}
    {%- if message['role'] == 'user' and loop.first and system_message is defined %}
        {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'user' %}{{- ' [INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}{{- ' ' + message['content'] + eos_token }}
    {%- else %}{{- raise_exception('no such role') }}{%- endif %}
{%- endfor %}"""

MISTRAL_V1_TIGHT = """{%- set rest = messages %}""" + ALTERNATE + """
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}{{- message['content'] + eos_token }}
    {%- else %}{{- raise_exception('no such role') }}{%- endif %}
{%- endfor %}"""

MISTRAL_V3 = SPLIT + ALTERNATE + """
{{- bos_token }}
{%- for message in rest %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token }}
    {%- else %}{{- raise_exception("no such role") }}{%- endif %}
{%- endfor %}"""

MISTRAL_V7 = SPLIT + ALTERNATE + """
{{- bos_token }}
{%- if system_message is defined %}{{- '[SYSTEM_PROMPT]' + system_message + '[/SYSTEM_PROMPT]' }}{%- endif %}
{%- for message in rest %}
    {%- if message['role'] == 'user' %}{{- '[INST]' + message['content'] + '[/INST]' }}
    {%- elif message['role'] == 'assistant' %}{{- message['content'] + eos_token }}
    {%- else %}{{- raise_exception('no such role') }}{%- endif %}
{%- endfor %}"""

PHI3 = ("{% for message in messages %}{% if message['role'] == 'system'MORE %}"
    "{{ '<|system|>\\n' + message['content'] + '<|end|>\\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}")

PHI4 = "{% for message in messages %}" + "".join(
    "{% if message['role'] == 'ROLE' %}{{ '<|im_start|>ROLE<|im_sep|>' + message['content'] + '<|im_end|>' }}{% endif %}".replace("ROLE", r)
    for r in ("system", "user", "assistant")) + (
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}")

PHI4_MINI = ("{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}")

OLMO2 = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<|system|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}{% if not loop.last %}"
    "{{ '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}{% else %}"
    "{{ '<|assistant|>\\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}")

IM = ["<|im_start|>", "<|im_end|>"]
HEADERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
TURNS = ["<bos>", "<start_of_turn>", "<end_of_turn>"]
INST = ["<s>", "</s>", "[INST]", "[/INST]"]
PHI = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"]

# format, template, special tokens, BOS, EOS, what the warning says
TEMPLATES = [
    ("chatml", CHATML, IM, None, IM[1], None),
    ("chatml", CHATML_TOOLS, IM, None, IM[1], None),
    ("smollm2", DEFAULT.replace("TEXT", "You are a helpful AI assistant named SmolLM, trained by Hugging Face") + CHATML, IM, IM[0], IM[1],
        None),
    ("qwen2", DEFAULT.replace("TEXT", "You are a helpful assistant.") + CHATML, IM, None, IM[1], None),
    ("qwen2.5", DEFAULT.replace("TEXT", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.") + CHATML, IM, None, IM[1], None),
    ("qwen3", QWEN3, IM + ["<think>", "</think>"], None, IM[1], None),
    ("llama2", LLAMA2.replace("TRIMMED", "content.strip()"), INST[:2], "<s>", "</s>", None),
    ("llama2", LLAMA2.replace("TRIMMED", "content | trim"), INST[:2], "<s>", "</s>", None),
    ("llama3", LLAMA3, HEADERS, HEADERS[0], HEADERS[3], None),
    ("llama3.1", LLAMA31.replace("DATE", FIXED_DATE, 1), HEADERS, HEADERS[0], HEADERS[3], None),
    ("llama3.1", LLAMA31.replace("DATE", DATE_OF_DAY, 1), HEADERS, HEADERS[0], HEADERS[3], "26 Jul 2024"),
    ("gemma", GEMMA, TURNS, TURNS[0], TURNS[2], None),
    ("mistral-v1", MISTRAL_V1, INST[:2], "<s>", "</s>", None),
    ("mistral-v1-tight", MISTRAL_V1_TIGHT, INST[:2], "<s>", "</s>", None),
    ("mistral-v3", MISTRAL_V3, INST, "<s>", "</s>", None),
    ("mistral-v7", MISTRAL_V7, INST + ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"], "<s>", "</s>", None),
    ("phi3", PHI3.replace("MORE", ""), PHI, None, PHI[4], None),
    ("phi3.5", PHI3.replace("MORE", " and message['content']"), PHI, None, PHI[4], None),
    ("phi4", PHI4, IM + ["<|im_sep|>"], None, IM[1], None),
    ("phi4-mini", PHI4_MINI, PHI, None, PHI[4], None),
    ("olmo2", OLMO2, ["<|endoftext|>"], "<|endoftext|>", "<|endoftext|>", None),
]
