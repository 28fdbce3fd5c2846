"""URI templates: the examples of RFC 6570 that have strings as values."""

import pytest

from schemas.errors import BadRecord
from schemas.uritemplate import MAX_TEMPLATE, expand, expand_within, names

VALUES = {
    "var": "value",
    "hello": "Hello World!",
    "half": "50%",
    "empty": "",
    "path": "/foo/bar",
    "base": "http://example.com/home/",
    "who": "fred",
    "dom": "example",
    "x": "1024",
    "y": "768",
    "v": "6",
    "dub": "me/too",
    "semi": ";",
    "dot": ".",
    "lang": "电池",
    "done": "%41",
}

EXAMPLES = {  # RFC 6570 §1.2 and §3.2, by operator
    "{var}": "value",
    "{hello}": "Hello%20World%21",
    "{half}": "50%25",
    "O{empty}X": "OX",
    "O{undef}X": "OX",
    "{x,y}": "1024,768",
    "{x,hello,y}": "1024,Hello%20World%21,768",
    "?{x,empty}": "?1024,",
    "?{x,undef}": "?1024",
    "?{undef,y}": "?768",
    "{var:3}": "val",
    "{var:30}": "value",
    "{semi:2}": "%3B",
    "{lang}": "%E7%94%B5%E6%B1%A0",
    "{lang:1}": "%E7%94%B5",
    "{var*}": "value",
    "{+var}": "value",
    "{+hello}": "Hello%20World!",
    "{+half}": "50%25",
    "{base}index": "http%3A%2F%2Fexample.com%2Fhome%2Findex",
    "{+base}index": "http://example.com/home/index",
    "O{+empty}X": "OX",
    "O{+undef}X": "OX",
    "{+path}/here": "/foo/bar/here",
    "here?ref={+path}": "here?ref=/foo/bar",
    "up{+path}{var}/here": "up/foo/barvalue/here",
    "{+x,hello,y}": "1024,Hello%20World!,768",
    "{+path,x}/here": "/foo/bar,1024/here",
    "{+path:6}/here": "/foo/b/here",
    "{+done}": "%41",
    "{done}": "%2541",
    "{#var}": "#value",
    "{#hello}": "#Hello%20World!",
    "{#half}": "#50%25",
    "foo{#empty}": "foo#",
    "foo{#undef}": "foo",
    "{#path,x}/here": "#/foo/bar,1024/here",
    "{#path:6}/here": "#/foo/b/here",
    "{.who}": ".fred",
    "{.who,who}": ".fred.fred",
    "{.half,who}": ".50%25.fred",
    "X{.var}": "X.value",
    "X{.empty}": "X.",
    "X{.undef}": "X",
    "X{.var:3}": "X.val",
    "{/who}": "/fred",
    "{/who,who}": "/fred/fred",
    "{/half,who}": "/50%25/fred",
    "{/who,dub}": "/fred/me%2Ftoo",
    "{/var,empty}": "/value/",
    "{/var,undef}": "/value",
    "{/var,x}/here": "/value/1024/here",
    "{/var:1,var}": "/v/value",
    "{;who}": ";who=fred",
    "{;half}": ";half=50%25",
    "{;empty}": ";empty",
    "{;v,empty,who}": ";v=6;empty;who=fred",
    "{;v,undef,who}": ";v=6;who=fred",
    "{;x,y,undef}": ";x=1024;y=768",
    "{;hello:5}": ";hello=Hello",
    "{?who}": "?who=fred",
    "{?half}": "?half=50%25",
    "{?x,y}": "?x=1024&y=768",
    "{?x,y,empty}": "?x=1024&y=768&empty=",
    "{?x,y,undef}": "?x=1024&y=768",
    "{?var:3}": "?var=val",
    "{&who}": "&who=fred",
    "?fixed=yes{&x}": "?fixed=yes&x=1024",
    "{&x,y,empty}": "&x=1024&y=768&empty=",
    "{&var:3}": "&var=val",
    "{?undef}": "",
    "http://a/\u7535": "http://a/%E7%94%B5",
    "a%20b": "a%20b",
}


@pytest.mark.parametrize(("template", "expected"), EXAMPLES.items())
def test_examples(template, expected):
    assert expand(template, VALUES) == expected


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("{", 0),
        ("a{var", 1),
        ("{}", 0),
        ("{var}}", 5),
        ("a}b", 0),
        ("{{var}}", 0),
        ("{var,}", 0),
        ("{,var}", 0),
        ("{va r}", 0),
        ("{var:0}", 0),
        ("{var:10000}", 0),
        ("{var:x}", 0),
        ("{var:3*}", 0),
        ("{=var}", 0),
        ("{!var}", 0),
        ("{|var}", 0),
        ("{$var}", 0),
        ("{+}", 0),
        ("{var.}", 0),
        ("{v\u00e9}", 0),
        ("a b", 0),
        ("a\\b", 0),
        ("<a>", 0),
        ("a%2", 0),
        ("x{var}%zz", 6),
    ],
)
def test_malformed_templates(template, position):
    with pytest.raises(BadRecord) as caught:
        expand(template, VALUES)
    assert (caught.value.value, caught.value.position) == (template, position)


def test_names():
    assert names("http://a/{x}{?y,z:3}{&x*}{+a.b}") == {"x", "y", "z", "a.b"}
    assert names("http://a/") == frozenset()


def test_lengths():
    assert expand("a" * MAX_TEMPLATE, {}) == "a" * MAX_TEMPLATE
    with pytest.raises(BadRecord, match="template over"):
        expand("a" * (MAX_TEMPLATE + 1), {})
    assert expand_within(5, "{var}", VALUES) == "value"
    assert expand_within(4, "{var}", VALUES) is None
    assert expand_within(2048, "{x}" * 600, {"x": "y" * 1024}) is None
