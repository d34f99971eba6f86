/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Prompts of safety sets, harmful and harmless, from the files that their authors publish or from one's own. */
#ifndef CWP_EVALUATOR_SAFE_SET_H
#define CWP_EVALUATOR_SAFE_SET_H

#include <stddef.h>

#include <cwp/evaluator.h>

/* What to read. Empty texts: what the set says. */
struct safe_want {
	const char *set; /* advbench, harmbench, strongreject, multijail, xsafety, xstest; own: a file of one's own; else another set
			  * that the host knows, whose column must be named */
	const char *column, *id, *group, *target;
	const char *label; /* column that says which prompts are harmless: "safe" */
	const char *language; /* of MultiJail the column; "all": each language's */
	int harmless; /* prompts without a label are harmless */
	int unlabelled; /* nothing is taken for harmful: the set may be about anything */
};

struct safe_prompt {
	const char *text;
	size_t length;
	const char *target; /* NULL: none */
	size_t target_length;
	const char *language;
	int harmless;
	char id[112];
	char group[64]; /* "": none */
	char *joined;   /* owner of the text, where it is not that of the records */
};

struct safe_set {
	const struct cwp_host *host;
	struct cwp_records *records;
	struct safe_prompt *prompt;
	size_t count;
	int harmful, harmless; /* which of them the set can have, chosen or not */
};

/* Opens the file and chooses at most `limit` prompts (0: all), of each group, language and part its share, none that the job
 * calibrates on. What is wrong is explained through host->fail(). To be closed in every case. */
int safe_set_open(const struct cwp_host *host, const struct safe_want *want, const char *path, uint64_t limit,
	struct safe_set *ret);
void safe_set_close(struct safe_set *s);

#endif
