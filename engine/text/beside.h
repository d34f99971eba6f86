/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer and the chat format that lie beside a model's weights. */
#pragma once

#include "engine/format/source.h"
#include "engine/text/chat.h"
#include "engine/text/tokenizer.h"

/* *ret and *ret_chat are freed with their own functions; ret_chat may be NULL. CWP_EMISSING: the source has no
 * tokenizer.json. tokenizer_config.json is optional. Errors begin with the source's path. */
int cwe_tokenizer_beside(struct cwe_source *source, struct cwe_tokenizer **ret, struct cwe_chat **ret_chat,
	struct cwb_err *err);
