// Reads an AsyncAPI document with AsyncAPI's own parser; prints what it finds as JSON.
const { Parser, fromFile } = require("@asyncapi/parser");

fromFile(new Parser(), process.argv[2])
  .parse()
  .then(({ document, diagnostics }) => {
    const found = diagnostics.map((one) => ({
      severity: one.severity, code: one.code, message: one.message, path: one.path.join("."),
    }));
    const channels = document ? document.channels().all().map((one) => one.id()) : [];
    console.log(JSON.stringify({ read: Boolean(document), channels, diagnostics: found }));
  });
