"use strict";
// Everything works without this script; it makes it more comfortable.
if (document.getElementById("doing")) setTimeout(() => location.reload(), 2000);

const form = document.getElementById("score");
if (form) {
  const input = form.querySelector("#images"), chosen = form.querySelector("#chosen"), drop = form.querySelector("#drop");
  const complaint = () => {
    const files = [...input.files], large = files.filter((file) => file.size > Number(form.dataset.mostBytes));
    if (files.length > Number(form.dataset.mostFiles)) return form.dataset.tooMany;
    return large.length ? form.dataset.tooLarge + large.map((file) => file.name).join(", ") : "";
  };
  const said = () => {
    const words = complaint();
    input.setCustomValidity(words);
    chosen.textContent = words || (input.files.length ? form.dataset.chosen + [...input.files].map((f) => f.name).join(", ") : "");
    chosen.classList.toggle("wrong", Boolean(words));
  };
  input.addEventListener("change", said);
  for (const name of ["dragover", "dragleave", "drop"])
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) {
        input.files = event.dataTransfer.files;
        said();
      }
    });
  form.addEventListener("submit", () => {
    const go = form.querySelector("#go");
    form.querySelector("#busy").textContent = form.dataset.busy;
    go.setAttribute("aria-disabled", "true");
  });
}
