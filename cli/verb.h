/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A verb of cwpctl as data: what --help prints, completions offer, options are checked by, and what
 * is run. */
#pragma once

#include <stddef.h>

struct cwc;

struct cwc_option {
	const char *name;  /* without "--" */
	const char *value; /* what it takes ("ID"), NULL for a switch */
	const char *help;
	int repeats;
};

enum cwc_operand { CWC_NO_OPERAND, CWC_IDS, CWC_FILES, CWC_WORDS };

struct cwc_verb {
	const char *name;
	const char *operands; /* as the usage line shows them, "" for none */
	const char *summary;  /* one line, no final stop */
	const char *details;  /* more help, whole lines; NULL for none */
	enum cwc_operand operand;
	int least, most;                  /* operands; most < 0: any number */
	const struct cwc_option *options; /* ends with a NULL name; NULL for none */
	int (*run)(struct cwc *cwc);      /* returns the exit code */
};

/* All verbs, in the order of --help; ends with a NULL name. */
extern const struct cwc_verb cwc_verbs[];
/* Options that stand before or behind any verb. */
extern const struct cwc_option cwc_globals[];

const struct cwc_verb *cwc_verb_find(const char *name);

int cwc_submit(struct cwc *cwc);
int cwc_list(struct cwc *cwc);
int cwc_show(struct cwc *cwc);
int cwc_explain(struct cwc *cwc);
int cwc_follow(struct cwc *cwc);
int cwc_wait(struct cwc *cwc);
int cwc_events(struct cwc *cwc);
int cwc_log(struct cwc *cwc);
int cwc_report(struct cwc *cwc);
int cwc_gate(struct cwc *cwc);
int cwc_compare(struct cwc *cwc);
int cwc_cancel(struct cwc *cwc);
int cwc_hold(struct cwc *cwc);
int cwc_release(struct cwc *cwc);
int cwc_retry(struct cwc *cwc);
int cwc_remove(struct cwc *cwc);
int cwc_top(struct cwc *cwc);
int cwc_priority(struct cwc *cwc);
int cwc_plugins(struct cwc *cwc);
int cwc_doctor(struct cwc *cwc);
int cwc_drain(struct cwc *cwc);
int cwc_undrain(struct cwc *cwc);
int cwc_reload(struct cwc *cwc);
int cwc_metrics(struct cwc *cwc);
int cwc_version(struct cwc *cwc);
int cwc_completion(struct cwc *cwc);
