// A classic script, which also runs where the page's modules cannot: it says that the browser is too old for them.
(function () {
  if (window.CSS && CSS.supports("color", "light-dark(#000, #fff)")) return;
  var sentence = document.createElement("p");
  sentence.textContent = "This device's WebView is too old for the app; update Android System WebView.";
  document.body.insertBefore(sentence, document.body.firstChild);
})();
