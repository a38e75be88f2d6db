"""Live signing: frames of landmarks in by WebSocket, signs out, and the page that shows it."""
