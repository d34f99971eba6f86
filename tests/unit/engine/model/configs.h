/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Configurations written in tests: JSON with ' for ", one laid over another. */
#pragma once

#include "engine/model/arch.h"

/* Sizes that every family accepts. */
#define CONFIG_SIZES                                                                                                   \
	"'num_hidden_layers': 4, 'hidden_size': 64, 'num_attention_heads': 32, 'intermediate_size': 96, 'vocab_size': 300"

/* "{...}" for a model_type, as an array on the stack. */
#define CONFIG(type) "{'model_type': '" type "', " CONFIG_SIZES "}"

/* `changes` over `base`, both objects. A value of "absent" removes the key. New reference. */
json_t *config_make(const char *base, const char *changes);

/* Fails the test where it is refused. */
struct cwe_arch config_read(const char *base, const char *changes);

/* Fails the test unless it is refused with this code, and the message names the file, `said` and, where it is not NULL,
 * `also`. */
void config_refused(const char *base, const char *changes, int code, const char *said, const char *also);
