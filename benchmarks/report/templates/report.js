"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => {
    button.textContent = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `Switch to ${button.textContent} colours`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  name();

  for (const slider of document.querySelectorAll(".slider")) {
    const range = slider.querySelector("input[type=range]");
    const stack = slider.querySelector(".stack");
    const move = () => {
      stack.style.setProperty("--at", `${range.value}%`);
      range.setAttribute("aria-valuetext", `${range.value} % degraded`);
    };
    range.addEventListener("input", move);
    move();
  }
})();
