// The first script to run: unpacks the sources and starts the page's own script, which the content
// security policy allows by its hash.

const packed = Uint8Array.from(atob(document.getElementById("sources").textContent), (character) =>
  character.charCodeAt(0),
);
const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
const sources = JSON.parse(await new Response(stream).text());
window.microgpt = { sources };
document.head.append(
  Object.assign(document.createElement("script"), { type: "module", textContent: sources.page }),
);
