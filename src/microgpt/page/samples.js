// The samples: the documents that the model generated, each a button that opens its trace.

import { element, make, visible } from "./charts.js";

// samples: [{ text, known }]; has_list: whether the page has the dataset; choose(text): on a click.
export function show_samples(samples, has_list, choose) {
  element("made").replaceChildren(
    ...samples.map(({ text, known }) => {
      const shown = visible(text) || "(empty)";
      const button = make(
        "button",
        { type: "button", title: "Trace it below", onclick: () => choose(text) },
        make("bdi", {}, shown),
      );
      if (known) button.setAttribute("aria-label", `${shown}, in the dataset`);
      return make("li", {}, Object.assign(button, { className: known ? "known" : "" }));
    }),
  );
  const known = samples.filter((sample) => sample.known).length;
  element("novelty").textContent = !has_list
    ? "The dataset is not part of this file, so no sample is marked as known."
    : known
      ? `${known} of ${samples.length} appear in the dataset (marked ●). The others are new.`
      : `None of these ${samples.length} appears in the dataset.`;
}
