/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The patterns of adapter_config.json: regular expressions over the names of modules, matched as
 * PEFT matches them. They come from strangers: length and steps of a match are bounded. */
#pragma once

#include <stdint.h>

#include "base/err.h"

enum cwe_adapter_match {
	CWE_ADAPTER_SUFFIX, /* the whole name, or what follows one of its dots: keys of patterns */
	CWE_ADAPTER_WHOLE,  /* the whole name: target_modules that is one text */
	CWE_ADAPTER_LAYER   /* a list of layers, followed by the number that is looked for */
};

struct cwe_adapter_pattern;

/* Compiles a pattern; with CWE_ADAPTER_LAYER text NULL means any list. Messages begin with place (a
 * file and a key). CWP_EVALUE when it is no expression, CWP_ELIMIT when it is too long. *ret is
 * freed with cwe_adapter_pattern_free. [any-thread] */
int cwe_adapter_pattern_new(const char *text, enum cwe_adapter_match kind, const char *place,
	struct cwe_adapter_pattern **ret, struct cwb_err *err);
void cwe_adapter_pattern_free(struct cwe_adapter_pattern *p); /* NULL is allowed */

/* 1 or 0: whether a module's name matches. *ret_layer (may be NULL) is set by CWE_ADAPTER_LAYER.
 * CWP_ELIMIT when the match takes too many steps. [any-thread] */
int cwe_adapter_pattern_match(const struct cwe_adapter_pattern *p, const char *name,
	uint64_t *ret_layer, struct cwb_err *err);
/* Whether it needs the regular expressions' matcher: most keys are plain names. */
int cwe_adapter_pattern_is_slow(const struct cwe_adapter_pattern *p);
