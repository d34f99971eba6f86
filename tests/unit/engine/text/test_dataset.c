/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Data sets: what their rows make of small records, a user's own columns, identities, the choice by
 * seed, and every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/text/items.h"
#include "tests/unit/engine/text/mini.h"

static int teardown(void **state)
{
	(void)state;
	mini_folder_remove();
	return 0;
}

struct request {
	const char *data, *file, *content;
	enum cwj_as as;
	const char *columns[5][2];
	const char *language, *refusal;
	enum cwj_charset charset;
};

static int open_items(
	const struct request *r, struct cwj_set *set, struct cwe_items *items, struct cwb_err *err)
{
	static struct cwj_option columns[5];
	*set = (struct cwj_set){.name = (char *)"s",
		.data = (char *)r->data,
		.path = (char *)mini_file(r->file, r->content, strlen(r->content)),
		.as = r->as,
		.charset = r->charset,
		.language = (char *)r->language,
		.refusal = (char *)r->refusal,
		.columns = columns,
		.line = 7,
		.column = 3};
	for (; set->n_columns < 5 && r->columns[set->n_columns][0]; set->n_columns++) {
		columns[set->n_columns].name = (char *)r->columns[set->n_columns][0];
		columns[set->n_columns].value = (char *)r->columns[set->n_columns][1];
	}
	return cwe_items_open(set, 0, items, err);
}

/* The items in the order of the file: "identity: part|part" and a line end each. */
static void check(const struct request *r, const char *expected)
{
	struct cwj_set set;
	struct cwe_items items;
	struct cwb_err err = {0};
	char text[4096] = "";
	if (open_items(r, &set, &items, &err) < 0)
		fail_msg("%s %s: %s", r->data, r->content, err.message);
	for (size_t record = 1; record <= items.records + 1; record++) { /* a header counts */
		for (size_t i = 0; i < items.count; i++) {
			struct cwe_item_text t;
			if (items.item[i].record != record)
				continue;
			assert_int_equal(cwe_items_text(&items, i, &t, &err), 0);
			size_t n = strlen(text);
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s: ", t.identity);
			for (size_t k = 0; k < t.count; k++)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
					k > 0 ? "|" : "", t.part[k]);
			snprintf(text + n, sizeof(text) - n, "\n");
			cwe_item_text_free(&t);
		}
	}
	cwe_items_close(&items);
	assert_string_equal(text, expected);
}

static const struct {
	struct request request;
	const char *items;
} sets[] = {
	{{.data = "crows-pairs",
		 .file = "a.csv",
		 .content = ",sent_more,sent_less,stereo_antistereo,bias_type\n3,\"a\n\", b "
			    ",stereo,x\n4,c,,"
			    "stereo,x\n"},
		"crows-pairs/3: |a|b\n"},
	{{.data = "stereoset",
		 .file = "a.jsonl",
		 .content = "{\"id\": \"i\", \"context\": \"An x is BLANK, BLANK.\", \"c1_word\": "
			    "\"u\", "
			    "\"c1_gold_label\": \"unrelated\", \"c2_word\": \" p \", "
			    "\"c2_gold_label\": "
			    "\"stereotype\", \"c3_word\": \"q\", \"c3_gold_label\": "
			    "\"anti-stereotype\"}"},
		"stereoset/i: An x is |p|q\n"},
	{{.data = "stereoset",
		 .file = "a.json",
		 .content =
			 "{\"data\": {\"intrasentence\": [{\"id\": \"i\", \"context\": \"An x is "
			 "BLANK .\", "
			 "\"sentences\": [{\"sentence\": \"An x is p.\", \"gold_label\": "
			 "\"stereotype\"}, "
			 "{\"sentence\": \"An x is q r.\", \"gold_label\": \"anti-stereotype\"}]}, "
			 "{\"id\": \"k\", \"context\": \"An x is BLANK\", \"sentences\": "
			 "[{\"sentence\": "
			 "\"Some y p too.\", \"gold_label\": \"stereotype\"}, {\"sentence\": "
			 "\"Some y q "
			 "too.\", \"gold_label\": \"anti-stereotype\"}]}, {\"id\": \"l\", "
			 "\"context\": \"An "
			 "x is BLANK\", \"sentences\": [{\"sentence\": \"same.\", \"gold_label\": "
			 "\"stereotype\"}, {\"sentence\": \"same.\", \"gold_label\": "
			 "\"anti-stereotype\"}]}], \"intersentence\": [{\"id\": \"j\", "
			 "\"context\": \"C.\", "
			 "\"sentences\": [{\"sentence\": \"p.\", \"gold_label\": \"stereotype\"}, "
			 "{\"sentence\": \"q.\", \"gold_label\": \"anti-stereotype\"}]}]}}"},
		"stereoset/i: An x is |p|q r\nstereoset/k: Some y |p|q\nstereoset/j: C.| p.| "
		"q.\n"},
	{{.data = "bbq",
		 .file = "a.jsonl",
		 .content = "{\"example_id\": 5, \"category\": \"SES\", \"question_polarity\": "
			    "\"nonneg\", "
			    "\"answer_info\": {\"ans0\": [\"x\", \"unknown\"], \"ans1\": [\"y\", "
			    "\"lowSES\"], "
			    "\"ans2\": [\"z\", \"highSES\"]}, \"additional_metadata\": "
			    "{\"stereotyped_groups\": [\"low SES\"]}, \"context\": \"C.\", "
			    "\"question\": "
			    "\"Q?\", \"ans0\": \"u\", \"ans1\": \"l\", \"ans2\": \"h\", \"label\": "
			    "0}"},
		"bbq/SES/5: C.\n\nQ: Q?\nA:| h| l\n"},
	{{.data = "refusal-pairs",
		 .file = "a.csv",
		 .content = ",prompt,response,text\n0,[INST] p [/INST], I cannot.,t\n1,[INST] q "
			    "[/INST], "
			    "Sure.,t\n"},
		"refusal-pairs/a8baa5a456f50f9f1a593deb8fa7f1b9: p|I cannot.\n"},
	{{.data = "xsafety", .file = "Ab_Cd_n.csv", .content = "\xEF\xBB\xBF\"x, y\",\r\nz,\r\n"},
		"xsafety/Ab_Cd/1: x, y|I'm sorry, but I can't help with that.\nxsafety/Ab_Cd/2: "
		"z|I'm sorry, but I can't help with that.\n"},
	{{.data = "xsafety", .file = "Ab_Cd_en.csv", .content = "x\n", .refusal = "No."},
		"xsafety/Ab_Cd/1: x|No.\n"},
	{{.data = "xstest",
		 .file = "a.csv",
		 .content = "id,prompt,label\n1,p,safe\n2,q,unsafe\n",
		 .refusal = "No."},
		"xstest/2: q|No.\n"},
	{{.data = "xstest",
		 .file = "a.csv",
		 .content = "id,prompt,label\n1,p,safe\n2,q,unsafe\n",
		 .as = CWJ_AS_TEXT},
		"xstest/1: p\nxstest/2: q\n"},
	{{.data = "multijail", .file = "a.csv", .content = "id,en,sw\n1,p,q\n", .as = CWJ_AS_TEXT},
		"multijail/1: p\n"},
	{{.data = "multijail",
		 .file = "a.csv",
		 .content = "id,en,sw\n1,p,q\n",
		 .as = CWJ_AS_TEXT,
		 .language = "sw"},
		"multijail/1: q\n"},
	{{.data = "mmlu",
		 .file = "a.csv",
		 .content = "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,2\n"},
		"mmlu/q: q\nA. a\nB. b\nC. c\nD. d\nAnswer:|C\n"},
	{{.data = "mmlu",
		 .file = "a.csv",
		 .content = "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,2\n",
		 .as = CWJ_AS_TEXT},
		"mmlu/q: q\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n"},
	{{.data = "bbh",
		 .file = "task.json",
		 .content = "{\"canary\": \"no\", \"examples\": [{\"input\": \"p\", \"target\": "
			    "\"a\"}, "
			    "{\"input\": \"q\", \"target\": \"b\"}]}"},
		"bbh/task/1: p|a\nbbh/task/2: q|b\n"},
	{{.data = "instructions",
		 .file = "a.jsonl",
		 .content = "{\"id\": \"s\", \"instruction\": \"p\", \"instances\": [{\"input\": "
			    "\"i\", "
			    "\"output\": \"a \"}]}\n{\"id\": \"t\", \"instruction\": \"q\", "
			    "\"instances\": "
			    "[{\"input\": \"\", \"output\": \"b\"}]}\n{\"id\": \"u\", "
			    "\"instruction\": \"r\", "
			    "\"instances\": [{\"input\": \"\", \"output\": \"\"}]}\n"},
		"instructions/s: p\ni|a \ninstructions/t: q|b\n"},
	{{.data = "ud-text",
		 .file = "a.conllu",
		 .content = "# sent_id = x1\r\n# text = A b.\r\n\r\n# text = C.\n# sent_id = x2\n"},
		"ud-text/x1: A b.\nud-text/C.: C.\n"},
	{{.data = "wikitext2",
		 .file = "a.txt",
		 .content = " = T1 = \r\n \r\n a b \r\n\r\n = = S = = \r\n c \r\n"},
		"wikitext2/T1:  a b \nwikitext2/T1:  c \n"},
	/* A user's own columns. */
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "q,a,n\nx,y,1\nz,w,2\n",
		 .columns = {{"prompt", "q"}, {"answer", "a"}, {"id", "n"}}},
		"csv/1: x|y\ncsv/2: z|w\n"},
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "x,y\nz,w\n",
		 .columns = {{"text", "2"}, {"id", "1"}}},
		"csv/x: y\ncsv/z: w\n"},
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "m\x8E,l,c\np,q,r\n",
		 .charset = CWJ_CHARSET_MAC_ROMAN,
		 .columns = {{"more", "m\xC3\xA9"}, {"less", "l"}, {"context", "c"}, {"id", "l"}}},
		"csv/q: r|p|q\n"},
	{{.data = "jsonl",
		 .file = "a.txt",
		 .content = "{\"m\": {\"t\": [\"x\", \"y\"]}, \"n\": 4}\n",
		 .columns = {{"prompt", "m.t.1"}, {"input", "m.t.0"}, {"id", "n"}},
		 .refusal = "No."},
		"jsonl/4: y\nx|No.\n"},
	{{.data = "json",
		 .file = "a.json",
		 .content =
			 "{\"a\": {\"b\": [{\"t\": \"x\", \"n\": 1}, {\"t\": \"y\", \"n\": 2}]}}",
		 .columns = {{"text", "t"}, {"id", "n"}, {"records", "a.b"}}},
		"json/1: x\njson/2: y\n"},
	{{.data = "json",
		 .file = "a.json",
		 .content = "[{\"t\": \"x\", \"n\": 1}]",
		 .columns = {{"text", "t"}, {"id", "n"}}},
		"json/1: x\n"},
};

static void test_sets(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
		check(&sets[i].request, sets[i].items);
}

struct refusal {
	struct request request;
	int code, line;
	const char *field, *message;
};

static const struct refusal refusals[] = {
	{{.data = "advbenh", .file = "a.csv", .content = ""}, CWP_EUNKNOWN, 7, "data",
		"did you mean \"advbench\"?"},
	{{.data = "advbench", .file = "a.jsonl", .content = ""}, CWP_EVALUE, 7, "path",
		"data advbench comes in files whose names end in .csv, and a.jsonl does not"},
	{{.data = "advbench", .file = "a.csv", .content = "", .as = CWJ_AS_PAIRS}, CWP_EVALUE, 7,
		"as", "data advbench cannot be read as pairs; it can as text, answers, refusals"},
	{{.data = "advbench", .file = "a.csv", .content = "", .language = "fr"}, CWP_EVALUE, 7,
		"language", "choose the language by the file"},
	{{.data = "advbench", .file = "a.csv", .content = "", .columns = {{"prompt", "x"}}},
		CWP_EVALUE, 7, "columns", "columns belongs to data csv, json and jsonl"},
	{{.data = "advbench", .file = "a.csv", .content = ""}, CWP_EMISSING, 0, "",
		"a.csv: no items"},
	{{.data = "advbench", .file = "a.csv", .content = "goal,target\n"}, CWP_EMISSING, 0, "",
		"a.csv: no items"},
	{{.data = "advbench", .file = "a.csv", .content = "goal,target\nx,\n"}, CWP_EMISSING, 0, "",
		"no items: none of its 1 records is one"},
	{{.data = "advbench", .file = "a.csv", .content = "goal,targets\nx,y\n"}, CWP_EMISSING, 1,
		"target", "a.csv:1: no column is named target; there are goal, targets"},
	{{.data = "advbench", .file = "a.csv", .content = "goal,target\nx\n"}, CWP_EFORMAT, 2, "",
		"a.csv:2: record 2, byte 12: 1 fields, but the first record has 2"},
	{{.data = "multijail", .file = "a.csv", .content = "id,en\n1,x\n", .language = "xx"},
		CWP_EMISSING, 1, "xx", "no column is named xx; there are id, en"},
	{{.data = "mmlu",
		 .file = "a.csv",
		 .content = "question,choice0,choice1,choice2,choice3,answer\nq,a,b,c,d,C\n"},
		CWP_EVALUE, 2, "answer", "a.csv:2: record 2, byte 48: answer: not 0, 1, 2 or 3"},
	{{.data = "stereoset", .file = "a.jsonl", .content = "{\"id\": 1}"}, CWP_EMISSING, 1,
		"context", "a.jsonl:1: context: absent, or not a string"},
	{{.data = "stereoset", .file = "a.json", .content = "{\"data\": {\"intrasentence\": 4}}"},
		CWP_EFORMAT, 0, "",
		"a.json: data.intrasentence of the document is integer, not an array of records"},
	{{.data = "stereoset", .file = "a.json", .content = "{\"data\": {\"intrasentence\": [3]}}"},
		CWP_EVALUE, 0, "", "a.json: record 1: not a JSON object"},
	{{.data = "stereoset",
		 .file = "a.json",
		 .content = "{\"data\": {\"intrasentence\": [{\"context\": \"x\"}]}}"},
		CWP_EMISSING, 0, "sentences", "a.json: record 1: sentences: not an array"},
	{{.data = "bbq",
		 .file = "a.jsonl",
		 .content = "{\"context\": \"c\", \"question\": \"q\", \"question_polarity\": "
			    "\"neg\", "
			    "\"label\": 3}",
		 .as = CWJ_AS_ANSWERS},
		CWP_EVALUE, 1, "label", "label: not 0, 1 or 2"},
	{{.data = "instructions",
		 .file = "a.jsonl",
		 .content = "{\"instruction\": \"x\", \"instances\": []}"},
		CWP_EMISSING, 1, "instances.0.output", "absent"},
	{{.data = "harmless-instructions", .file = "a.json", .content = "[{\"instruction\": [1]}]"},
		CWP_EVALUE, 0, "instruction",
		"a.json: record 1: instruction: not a string but array"},
	{{.data = "csv", .file = "a.csv", .content = "a\nb\n"}, CWP_EVALUE, 7, "columns",
		"data csv needs the columns of one kind of item"},
	{{.data = "csv", .file = "a.csv", .content = "", .columns = {{"more", "x"}}}, CWP_EVALUE, 7,
		"columns", "one kind"},
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "",
		 .columns = {{"text", "x"}, {"prompt", "y"}}},
		CWP_EVALUE, 7, "columns", "one kind"},
	{{.data = "csv", .file = "a.csv", .content = "", .columns = {{"texts", "x"}}}, CWP_EUNKNOWN,
		7, "columns", "\"texts\" is not known"},
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "",
		 .columns = {{"text", "x"}, {"records", "y"}}},
		CWP_EUNKNOWN, 7, "columns", "\"records\" is not known"},
	{{.data = "csv", .file = "a.csv", .content = "", .columns = {{"text", "x"}, {"id", "2"}}},
		CWP_EVALUE, 7, "columns", "give all of them numbers"},
	{{.data = "csv", .file = "a.csv", .content = "a\n", .columns = {{"text", "2"}}},
		CWP_EMISSING, 1, "2", "a.csv:1: record 1, byte 0: 2: absent"},
	{{.data = "csv",
		 .file = "a.csv",
		 .content = "p,a\nx,\n",
		 .columns = {{"prompt", "p"}, {"answer", "a"}}},
		CWP_EVALUE, 2, "a", "a.csv:2: record 2, byte 4: a: empty"},
	{{.data = "csv", .file = "a.csv", .content = "t\n\xE9\n", .columns = {{"text", "t"}}},
		CWP_EFORMAT, 2, "", "byte 2: not UTF-8 (0xE9): say charset"},
	{{.data = "jsonl",
		 .file = "a.jsonl",
		 .content = "",
		 .columns = {{"text", "t"}},
		 .charset = CWJ_CHARSET_LATIN1},
		CWP_EVALUE, 7, "charset", "charset other than utf-8 is for CSV"},
	{{.data = "json", .file = "a.json", .content = "{\"x\": 1}", .columns = {{"text", "t"}}},
		CWP_EFORMAT, 0, "",
		"a.json: the document is object, not an array of records; columns: {records: ..}"},
	{{.data = "json", .file = "a.json", .content = "{\"x\": 1", .columns = {{"text", "t"}}},
		CWP_EFORMAT, 1, "", "a.json"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct cwj_set set;
		struct cwe_items items;
		struct cwb_err err = {0};
		int rc = open_items(&r->request, &set, &items, &err);
		cwe_items_close(&items);
		if (rc != r->code || err.line != r->line || strcmp(err.field, r->field) != 0 ||
			!strstr(err.message, r->message))
			fail_msg(
				"%zu, %s: code %d, line %d, field \"%s\", \"%s\"; expected %d, %d, "
				"\"%s\", \"%s\"",
				i, r->request.data, rc, err.line, err.field, err.message, r->code,
				r->line, r->field, r->message);
	}
}

/* A file that is changed between the passes is found out. */
static void test_changed(void **state)
{
	(void)state;
	const struct request r = {
		.data = "advbench", .file = "a.csv", .content = "goal,target\nabc,def\n"};
	struct cwj_set set;
	struct cwe_items items;
	struct cwe_item_text t;
	struct cwb_err err = {0};
	assert_int_equal(open_items(&r, &set, &items, &err), 0);
	FILE *f = fopen(set.path, "r+");
	assert_non_null(f);
	int written = fputs("goal,target\nabc,xyz\n", f) >= 0;
	int closed = fclose(f) == 0;
	assert_true(written && closed);
	assert_int_equal(cwe_items_text(&items, 0, &t, &err), CWP_EDIGEST);
	assert_non_null(strstr(err.message, "changed while it was read"));
	cwe_items_close(&items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_changed),
	};
	return cmocka_run_group_tests_name("dataset", tests, NULL, teardown);
}
