/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Every data set that has a reader: which files it comes in, and what its columns are for. A set
 * that comes in several forms has a row for each, and the ending of the file's name decides. */
#include "engine/text/dataset.h"

#define TEXT CWE_MAKES(CWE_ITEM_TEXT)
#define ANSWER CWE_MAKES(CWE_ITEM_ANSWER)
#define PAIR CWE_MAKES(CWE_ITEM_PAIR)
#define REFUSAL CWE_MAKES(CWE_ITEM_REFUSAL)

const struct cwe_dataset cwe_datasets[] = {
	/* General shapes; of sample files (cwe_samplefile_read) the name alone. */
	{.name = "samples", .ending = "", .form = CWE_FORM_JSONL},
	{.name = "text", .ending = ".jsonl", .form = CWE_FORM_JSONL, .makes = TEXT,
		.usual = CWE_ITEM_TEXT, .own = 1, .column = {"text"}},
	{.name = "text", .ending = "", .form = CWE_FORM_PARAGRAPHS, .makes = TEXT,
		.usual = CWE_ITEM_TEXT, .own = 1},
	{.name = "answers", .ending = "", .form = CWE_FORM_JSONL, .makes = ANSWER,
		.usual = CWE_ITEM_ANSWER, .own = 1, .column = {"prompt", NULL, "answer"}},
	{.name = "pairs", .ending = "", .form = CWE_FORM_JSONL, .makes = PAIR,
		.usual = CWE_ITEM_PAIR, .own = 1, .column = {"context", "more", "less"}},
	/* Files whose columns the job names. */
	{.name = "csv", .ending = "", .form = CWE_FORM_CSV, .own = 1},
	{.name = "json", .ending = "", .form = CWE_FORM_JSON, .own = 1},
	{.name = "jsonl", .ending = "", .form = CWE_FORM_JSONL, .own = 1},
	/* Published sets. */
	{.name = "advbench", .ending = ".csv", .form = CWE_FORM_CSV,
		.makes = ANSWER | REFUSAL | TEXT, .usual = CWE_ITEM_ANSWER, .key = {"goal"},
		.column = {"goal", NULL, "target"}},
	{.name = "bbh", .ending = ".json", .form = CWE_FORM_JSON, .records = {"examples"},
		.makes = ANSWER | TEXT, .usual = CWE_ITEM_ANSWER, .key_file = 1, .key_number = 1,
		.column = {"input", NULL, "target"}},
	{.name = "bbq", .ending = ".jsonl", .form = CWE_FORM_JSONL, .makes = PAIR | ANSWER,
		.usual = CWE_ITEM_PAIR, .key = {"category", "example_id"}, .make = cwe_make_bbq},
	{.name = "crows-pairs", .ending = ".csv", .form = CWE_FORM_CSV, .makes = PAIR,
		.usual = CWE_ITEM_PAIR, .key = {"#1"}, .mac_roman = "crows_dutch",
		.column = {NULL, "sent_more", "sent_less"}},
	{.name = "harmbench", .ending = ".csv", .form = CWE_FORM_CSV, .makes = REFUSAL | TEXT,
		.usual = CWE_ITEM_REFUSAL, .key = {"BehaviorID"},
		.column = {"Behavior", NULL, NULL, "ContextString"}, .make = cwe_make_harmbench},
	{.name = "harmless-instructions", .ending = ".json", .form = CWE_FORM_JSON,
		.makes = TEXT, .usual = CWE_ITEM_TEXT, .key = {"instruction"},
		.column = {"instruction"}},
	{.name = "instructions", .ending = ".jsonl", .form = CWE_FORM_JSONL,
		.makes = ANSWER | TEXT, .usual = CWE_ITEM_ANSWER, .key = {"id"},
		.column = {"instruction", "instances.0.input", "instances.0.output"}},
	{.name = "mbbq", .ending = ".jsonl", .form = CWE_FORM_JSONL, .makes = PAIR | ANSWER,
		.usual = CWE_ITEM_PAIR, .key = {"category", "example_id"}, .make = cwe_make_bbq},
	{.name = "mmlu", .ending = ".csv", .form = CWE_FORM_CSV, .makes = ANSWER | TEXT,
		.usual = CWE_ITEM_ANSWER, .key = {"question"}, .make = cwe_make_mmlu},
	{.name = "multijail", .ending = ".csv", .form = CWE_FORM_CSV, .makes = REFUSAL | TEXT,
		.usual = CWE_ITEM_REFUSAL, .key = {"id"}, .by_language = 1},
	{.name = "refusal-pairs", .ending = ".csv", .form = CWE_FORM_CSV, .makes = ANSWER,
		.usual = CWE_ITEM_ANSWER, .key = {"prompt"},
		.column = {"prompt", NULL, "response"}, .make = cwe_make_refusal_pair},
	{.name = "stereoset", .ending = ".jsonl", .form = CWE_FORM_JSONL, .makes = PAIR,
		.usual = CWE_ITEM_PAIR, .key = {"id"}, .make = cwe_make_stereoset},
	{.name = "stereoset", .ending = ".json", .form = CWE_FORM_JSON,
		.records = {"data.intrasentence", "data.intersentence"}, .makes = PAIR,
		.usual = CWE_ITEM_PAIR, .key = {"id"}, .make = cwe_make_stereoset_nested},
	{.name = "strongreject", .ending = ".csv", .form = CWE_FORM_CSV, .makes = REFUSAL | TEXT,
		.usual = CWE_ITEM_REFUSAL, .key = {"forbidden_prompt"},
		.column = {"forbidden_prompt"}},
	{.name = "ud-text", .ending = "", .form = CWE_FORM_SENTENCES, .makes = TEXT,
		.usual = CWE_ITEM_TEXT},
	{.name = "wikitext2", .ending = "", .form = CWE_FORM_ARTICLES, .makes = TEXT,
		.usual = CWE_ITEM_TEXT},
	{.name = "xsafety", .ending = ".csv", .form = CWE_FORM_CSV, .makes = REFUSAL | TEXT,
		.usual = CWE_ITEM_REFUSAL, .key_file = 1, .key_number = 1, .no_header = 1,
		.column = {"1"}},
	{.name = "xstest", .ending = ".csv", .form = CWE_FORM_CSV, .makes = REFUSAL | TEXT,
		.usual = CWE_ITEM_REFUSAL, .key = {"id"}, .column = {"prompt"}, .where = "label",
		.is = "unsafe"},
};
const size_t cwe_dataset_count = sizeof(cwe_datasets) / sizeof(*cwe_datasets);
