/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer and the chat format that lie beside a model's weights. */
#pragma once

#include "engine/format/source.h"
#include "engine/text/chat.h"
#include "engine/text/tokenizer.h"

/* *ret is freed with cwe_tokenizer_free. CWP_EMISSING: the source has no tokenizer.json. tokenizer_config.json is optional.
 * Errors begin with the source's path. */
int cwe_tokenizer_beside(struct cwe_source *source, struct cwe_tokenizer **ret, struct cwb_err *err);

/* The chat format of a model; question->template is taken from the source: chat_template.jinja, else
 * tokenizer_config.json. *ret as of cwe_chat_find. */
int cwe_chat_beside(struct cwe_source *source, const struct cwe_chat_question *question, struct cwe_chat **ret,
	struct cwb_err *err);
