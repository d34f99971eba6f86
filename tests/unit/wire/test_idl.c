/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Interface text, good and bad, and values against it; the interfaces of the tree among them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "wire/idl.h"

static const char text[] = "# comment\ninterface org.example.x-y.z\n"
			   "type Kind (one, two)\n"
			   "type Tree (name: string, below: []Tree, extra: ?object)\n"
			   "method Do(a: int, b: ?float, c: [string]bool, k: Kind, t: ?Tree, s: "
			   "?(x: int)) -> (n: []int)\n"
			   "method Nothing() -> ()\n"
			   "error Bad (why: string)\n";

static struct cww_interface *parse(void)
{
	struct cww_interface *interface;
	struct cwb_err err = {0};

	if (cww_interface_parse(text, &interface, &err) < 0) {
		fail_msg("%s", err.message);
	}
	return interface;
}

static void test_parse(void **state)
{
	struct cww_interface *interface = parse();
	const struct cww_member *method;

	(void)state;
	assert_string_equal(interface->name, "org.example.x-y.z");
	assert_string_equal(interface->text, text);
	assert_int_equal(interface->n_members, 5);
	method = cww_interface_find(interface, CWW_METHOD, "Do");
	assert_non_null(method);
	assert_int_equal(method->in->n_fields, 6);
	assert_int_equal(method->in->fields[2].type->kind, CWW_MAP);
	assert_int_equal(method->out->fields[0].type->kind, CWW_ARRAY);
	assert_null(cww_interface_find(interface, CWW_METHOD, "Bad"));
	assert_non_null(cww_interface_find(interface, CWW_ERROR, "Bad"));
	cww_interface_free(interface);
	cww_interface_free(NULL);
}

static void test_bad_text(void **state)
{
	static const struct {
		const char *text;
		int line;
	} cases[] = {{"", 1}, {"interface", 1}, {"service a.b", 1}, {"interface a.b\nmethod", 2},
		{"interface a.b\nmethod M", 2}, {"interface a.b\nmethod M()", 2},
		{"interface a.b\nmethod M() -> (a: )", 2},
		{"interface a.b\nmethod M() - (a: int)", 2},
		{"interface a.b\nmethod M(a: strin) -> ()", 2},
		{"interface a.b\nmethod M(a: int, a: int) -> ()", 2},
		{"interface a.b\nmethod M(a) -> ()", 2}, {"interface a.b\ntype T (a: int\n", 3},
		{"interface a.b\ntype T (a: [int]int)", 2},
		{"interface a.b\n\ntype T (a: int)\ntype T (a: int)", 4},
		{"interface a.b\nthing T (a: int)", 2},
		{"interface a.b\ntype T (a: [][][][][][][][][][][][][][][][][]int)", 2},
		{"interface a.b\nerror E (a: int, b)", 2}};
	struct cww_interface *interface;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cwb_err err = {0};

		if (cww_interface_parse(cases[i].text, &interface, &err) != CWP_EFORMAT ||
			err.line != cases[i].line || err.column < 1) {
			fail_msg("case %zu: %s: line %d: %s", i, cases[i].text, err.line,
				err.message);
		}
	}
	assert_int_equal(
		cww_interface_parse("interface a.b\nmethod M(t: Missing) -> ()", &interface, NULL),
		CWP_EFORMAT);
}

static void test_values(void **state)
{
	static const struct {
		const char *value, *field; /* field NULL: good */
	} cases[] = {{"{'a':1,'c':{},'k':'one'}", NULL},
		{"{'a':1,'b':2,'c':{'x':true},'k':'two','t':{'name':'r','below':[{'name':'l','"
		 "below':[]}],'extra':{'z':[1]}}}",
			NULL},
		{"{'a':1,'b':null,'c':{},'k':'one','t':null,'s':{'x':1}}", NULL}, {"{}", "a"},
		{"{'a':1.5,'c':{},'k':'one'}", "a"}, {"{'a':'1','c':{},'k':'one'}", "a"},
		{"{'a':true,'c':{},'k':'one'}", "a"}, {"{'a':null,'c':{},'k':'one'}", "a"},
		{"{'a':1,'c':{'x':1},'k':'one'}", "c.x"}, {"{'a':1,'c':[],'k':'one'}", "c"},
		{"{'a':1,'c':{},'k':'three'}", "k"}, {"{'a':1,'c':{},'k':1}", "k"},
		{"{'a':1,'c':{},'k':'one','z':1}", "z"}, {"{'a':1,'c':{},'k':'one','b':'x'}", "b"},
		{"{'a':1,'c':{},'k':'one','s':{}}", "s.x"},
		{"{'a':1,'c':{},'k':'one','t':{'name':'r','below':[{'name':'l','below':[]},{'name':"
		 "1,'below':[]}]}}",
			"t.below[1].name"},
		{"{'a':1,'c':{},'k':'one','t':{'name':'r','below':[],'extra':[]}}", "t.extra"},
		{"[]", "parameters"}};
	struct cww_interface *interface = parse();
	const struct cww_type *type = cww_interface_find(interface, CWW_METHOD, "Do")->in;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct cwb_err err = {0};
		char json[512];
		json_t *value;
		int rc;

		snprintf(json, sizeof json, "%s", cases[i].value);
		for (k = 0; json[k]; k++) {
			json[k] = json[k] == '\'' ? '"' : json[k];
		}
		value = json_loads(json, 0, NULL);
		assert_non_null(value);
		rc = cww_check(interface, type, value, &err);
		if (rc != (cases[i].field == NULL ? 0 : CWP_EVALUE) ||
			strcmp(err.field, cases[i].field ? cases[i].field : "") != 0) {
			fail_msg("case %zu: %s: %d, field %s: %s", i, json, rc, err.field,
				err.message);
		}
		json_decref(value);
	}
	type = cww_interface_find(interface, CWW_METHOD, "Nothing")->in;
	assert_int_equal(cww_check(interface, type, NULL, NULL), 0);
	cww_interface_free(interface);
}

static void test_the_trees_own(void **state)
{
	static const char *const names[] = {
		"org.cwpd.Admin", "org.cwpd.Jobs", "org.cwpd.Metrics", "org.varlink.service"};
	const char *source = getenv("CWP_SRCDIR");
	size_t i;

	(void)state;
	if (source == NULL) {
		skip();
	}
	for (i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct cww_interface *interface;
		struct cwb_err err = {0};
		char path[4096], *data;
		size_t length;

		snprintf(path, sizeof path, "%s/daemon/ctl/idl/%s.varlink", source, names[i]);
		assert_int_equal(cwb_file_read(path, 1 << 20, &data, &length, &err), 0);
		if (cww_interface_parse(data, &interface, &err) < 0) {
			fail_msg("%s: %s", names[i], err.message);
		}
		assert_string_equal(interface->name, names[i]);
		cww_interface_free(interface);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse),
		cmocka_unit_test(test_bad_text), cmocka_unit_test(test_values),
		cmocka_unit_test(test_the_trees_own)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
