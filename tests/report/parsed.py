"""HTML as a tree, by the standard library alone."""

from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "input", "br", "wbr", "hr"}


class Element:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, dict(attributes), []

    def __getitem__(self, name):
        return self.attributes[name]

    @property
    def all(self):
        """This element and all inside it."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.all

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self):
        return " ".join(self.text.split())

    def find(self, tag=None, **attributes):
        """The elements inside with this tag and these attributes; `class_` asks for one of the classes."""
        kind = attributes.pop("class_", None)
        return [
            one
            for one in self.all
            if one is not self
            and tag in (None, one.tag)
            and (kind is None or kind in one.attributes.get("class", "").split())
            and all(one.attributes.get(name) == value for name, value in attributes.items())
        ]

    def only(self, tag=None, **attributes):
        (one,) = self.find(tag, **attributes)
        return one


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = [Element("document", ())]

    def handle_starttag(self, tag, attrs):
        one = Element(tag, attrs)
        self.open[-1].children.append(one)
        if tag not in _VOID:
            self.open.append(one)

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parsed(path):
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    (root,) = reader.open
    return root
