"""What the routes answer: handlers are checked against these types, and the API's description is made of them."""
