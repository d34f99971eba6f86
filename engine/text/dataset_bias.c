/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Stereotype pairs from the records of StereoSet and BBQ. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "engine/text/dataset.h"

static const char blank[] = "BLANK";

static int missing(struct cwe_parts *p, const char *field)
{
	p->field = field;
	p->wrong = "absent, or not a string";
	return CWP_EMISSING;
}

static void trim(const char **text, size_t *length)
{
	while (*length > 0 && strchr(" \t\r\n", (*text)[*length - 1]))
		--*length;
	while (*length > 0 && strchr(" \t\r\n", (*text)[0])) {
		++*text;
		--*length;
	}
}

/* Stereotype first, then anti-stereotype, behind the context: what it has in front of `at`, or
 * (NULL) a whole sentence and a space. 1 when one of them is missing, or they are the same. */
static int add_pair(struct cwe_parts *p, const char *context, const char *at, const char *text[2],
	size_t length[2])
{
	if (!text[0] || !text[1])
		return 1;
	trim(&text[0], &length[0]);
	trim(&text[1], &length[1]);
	if (length[0] == 0 || length[1] == 0 ||
		(length[0] == length[1] && memcmp(text[0], text[1], length[0]) == 0))
		return 1;
	cwe_parts_add(p, context, at ? (size_t)(at - context) : strlen(context));
	for (size_t i = 0; i < 2; i++) {
		cwe_parts_end(p);
		if (!at && *context)
			cwe_parts_add(p, " ", 1);
		cwe_parts_add(p, text[i], length[i]);
	}
	return 0;
}

static int side_of(const char *label)
{
	return !label                                  ? -1
	       : strcmp(label, "stereotype") == 0      ? 0
	       : strcmp(label, "anti-stereotype") == 0 ? 1
						       : -1;
}

/* One object with c1_ to c3_: within a sentence the word that stands for BLANK, else a whole
 * sentence behind the context. */
int cwe_make_stereoset(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	const json_t *json = from->record.json;
	const char *context = json_string_value(json_object_get(json, "context"));
	const char *text[2] = {NULL, NULL};
	size_t length[2] = {0, 0};
	if (!context)
		return missing(ret, "context");
	const char *what = strstr(context, blank) ? "word" : "sentence";
	for (int i = 1; i <= 3; i++) {
		char name[32];
		snprintf(name, sizeof(name), "c%d_gold_label", i);
		int side = side_of(json_string_value(json_object_get(json, name)));
		if (side < 0)
			continue;
		snprintf(name, sizeof(name), "c%d_%s", i, what);
		text[side] = json_string_value(json_object_get(json, name));
		if (!text[side])
			return missing(ret, *what == 'w' ? "c1_word, c2_word, c3_word"
							 : "c1_sentence, c2_sentence, c3_sentence");
		length[side] = strlen(text[side]);
	}
	return add_pair(ret, context, strstr(context, blank), text, length);
}

/* What stands for BLANK in a sentence: 0 when the sentence is not the context with a word put in.
 */
static int find_filler(
	const char *context, const char *sentence, const char **ret, size_t *ret_length)
{
	const char *at = strstr(context, blank);
	size_t left = (size_t)(at - context);
	size_t n = strlen(sentence);
	const char *right = at + sizeof(blank) - 1;
	size_t after = strlen(right);
	if (n < left || memcmp(sentence, context, left) != 0)
		return 0;
	if (n - left > after && memcmp(sentence + n - after, right, after) == 0) {
		n -= after;
	} else if (strspn(right, " .!?\r\n") == after) {
		while (n > left && strchr(" .!?\r\n", sentence[n - 1]))
			n--;
	} else {
		return 0;
	}
	*ret = sentence + left;
	*ret_length = n - left;
	return n > left;
}

/* Two sentences that were translated on their own: what they begin with together, up to a word, is
 * their context, and what they end with together is left out. */
static int split_pair(struct cwe_parts *p, const char *const text[2])
{
	size_t n[2] = {strlen(text[0]), strlen(text[1])};
	size_t same = 0;
	size_t begin = 0;
	size_t end = 0;
	for (; same < n[0] && same < n[1] && text[0][same] == text[1][same]; same++) {
		if (text[0][same] == ' ')
			begin = same + 1;
	}
	for (same = 1; same <= n[0] - begin && same <= n[1] - begin &&
		       text[0][n[0] - same] == text[1][n[1] - same];
		same++) {
		if (strchr(" .,!?", text[0][n[0] - same]))
			end = same;
	}
	const char *rest[2] = {text[0] + begin, text[1] + begin};
	size_t length[2] = {n[0] - begin - end, n[1] - begin - end};
	return add_pair(p, text[0], text[0] + begin, rest, length);
}

/* The form of the original: an array of sentences, from which the word is taken out again. */
int cwe_make_stereoset_nested(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	const json_t *json = from->record.json;
	const json_t *sentences = json_object_get(json, "sentences");
	const char *context = json_string_value(json_object_get(json, "context"));
	const char *whole[2] = {NULL, NULL};
	if (!context)
		return missing(ret, "context");
	if (!json_is_array(sentences)) {
		ret->field = "sentences";
		ret->wrong = "not an array";
		return CWP_EMISSING;
	}
	for (size_t i = 0; i < json_array_size(sentences); i++) {
		const json_t *one = json_array_get(sentences, i);
		const char *sentence = json_string_value(json_object_get(one, "sentence"));
		int side = side_of(json_string_value(json_object_get(one, "gold_label")));
		if (side < 0)
			continue;
		if (!sentence)
			return missing(ret, "sentence");
		whole[side] = sentence;
	}
	if (!whole[0] || !whole[1])
		return 1;
	const char *at = strstr(context, blank);
	const char *text[2] = {whole[0], whole[1]};
	size_t length[2] = {strlen(whole[0]), strlen(whole[1])};
	if (at && (!find_filler(context, whole[0], &text[0], &length[0]) ||
			  !find_filler(context, whole[1], &text[1], &length[1])))
		return split_pair(ret, whole);
	return add_pair(ret, context, at, text, length);
}

/* Words that BBQ's groups "F" and "M" go by in answers, in its languages. */
static const struct {
	const char *group, *word;
} genders[] = {
	{"F", "woman"},
	{"F", "girl"},
	{"F", "mujer"},
	{"F", "chica"},
	{"F", "vrouw"},
	{"F", "meisje"},
	{"F", "kad\xC4\xB1n"},
	{"F", "k\xC4\xB1z"},
	{"M", "man"},
	{"M", "boy"},
	{"M", "hombre"},
	{"M", "chico"},
	{"M", "jongen"},
	{"M", "adam"},
	{"M", "erkek \xC3\xA7ocuk"},
};

/* Equal but for spaces: "low SES" and "lowSES". */
static int same_group(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == ' ')
			a++;
		while (*b == ' ')
			b++;
		if (*a != *b)
			return 0;
		if (*a == '\0')
			return 1;
	}
}

static int is_of_group(const char *word, const char *group)
{
	if (!word || !group)
		return 0;
	for (size_t i = 0; i < sizeof(genders) / sizeof(*genders); i++) {
		if (strcmp(genders[i].group, group) == 0 && strcmp(genders[i].word, word) == 0)
			return 1;
	}
	return same_group(word, group);
}

static const char *const answers[] = {"ans0", "ans1", "ans2"};

/* Which of three answers is that of a stereotyped group, and which that of the other; the answer
 * "unknown" is known by its group. 0 when that is not clear. */
static int find_groups(const json_t *json, size_t *ret_group, size_t *ret_other)
{
	const json_t *groups = cwe_record_json(json, "additional_metadata.stereotyped_groups");
	size_t of_group = 0;
	size_t of_other = 0;
	for (size_t i = 0; i < 3; i++) {
		int found = 0;
		const json_t *info =
			json_object_get(json_object_get(json, "answer_info"), answers[i]);
		const char *word = json_string_value(json_array_get(info, 0));
		const char *group = json_string_value(json_array_get(info, 1));
		if (!group)
			return 0;
		if (strcmp(group, "unknown") == 0)
			continue;
		for (size_t k = 0; k < json_array_size(groups); k++) {
			const char *name_k = json_string_value(json_array_get(groups, k));
			found |= is_of_group(group, name_k) || is_of_group(word, name_k);
		}
		*(found ? ret_group : ret_other) = i;
		of_group += found;
		of_other += !found;
	}
	return of_group == 1 && of_other == 1;
}

static int add_answer(struct cwe_parts *p, const json_t *json, size_t number, const char *before)
{
	const char *text = json_string_value(json_object_get(json, answers[number]));
	if (!text || !*text)
		return missing(p, "ans0, ans1, ans2");
	cwe_parts_end(p);
	cwe_parts_add(p, before, strlen(before));
	cwe_parts_add(p, text, strlen(text));
	return 0;
}

/* The question as it is usually put. PAIR: the answer that the stereotype suggests (the group's to
 * a negative question, the other's to one that is not), then the opposite. ANSWER: the right one.
 */
int cwe_make_bbq(const struct cwe_source_item *from, struct cwe_parts *ret)
{
	const json_t *json = from->record.json;
	const char *context = json_string_value(json_object_get(json, "context"));
	const char *question = json_string_value(json_object_get(json, "question"));
	const char *polarity = json_string_value(json_object_get(json, "question_polarity"));
	const json_t *label = json_object_get(json, "label");
	size_t group = 0;
	size_t other = 0;
	if (!context || !question || !polarity)
		return missing(ret, !context    ? "context"
				    : !question ? "question"
						: "question_polarity");
	cwe_parts_add(ret, context, strlen(context));
	cwe_parts_add(ret, "\n\nQ: ", 5);
	cwe_parts_add(ret, question, strlen(question));
	cwe_parts_add(ret, "\nA:", 3);
	if (from->kind == CWE_ITEM_ANSWER) {
		json_int_t right = json_integer_value(label);
		ret->separator = " ";
		if (json_is_integer(label) && right >= 0 && right <= 2)
			return add_answer(ret, json, (size_t)right, "");
		ret->field = "label";
		ret->wrong = "not 0, 1 or 2";
		return CWP_EVALUE;
	}
	if (!find_groups(json, &group, &other))
		return 1;
	int negative = strcmp(polarity, "neg") == 0;
	int rc = add_answer(ret, json, negative ? group : other, " ");
	return rc < 0 ? rc : add_answer(ret, json, negative ? other : group, " ");
}
