/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A YAML document as a tree that remembers where everything stood. Built from libyaml's events with limits
 * on bytes, depth and nodes; aliases, anchors, tags, several documents and repeated keys are refused. */
#pragma once

#include <stddef.h>

#include "base/err.h"

enum cwj_yaml_kind { CWJ_YAML_SCALAR, CWJ_YAML_SEQUENCE, CWJ_YAML_MAPPING };

struct cwj_yaml {
	enum cwj_yaml_kind kind;
	int line, column;   /* from 1 */
	int quoted;         /* scalar: written in quotes, so always a string */
	char *text;         /* scalar: NUL-terminated, never holding a NUL itself */
	size_t count;       /* children */
	struct cwj_yaml **keys;   /* mapping: scalars */
	struct cwj_yaml **values; /* mapping and sequence */
};

/* Parses text of length bytes (at most 1 MiB, depth 32, 20,000 nodes). *ret is freed with cwj_yaml_free.
 * CWP_EFORMAT with line and column in err. [any-thread] */
int cwj_yaml_parse(const char *text, size_t length, struct cwj_yaml **ret, struct cwb_err *err);
void cwj_yaml_free(struct cwj_yaml *tree);

/* The value of a key, or NULL. */
const struct cwj_yaml *cwj_yaml_get(const struct cwj_yaml *mapping, const char *key);
